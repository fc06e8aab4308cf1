"""Errors without end in the log: few lines of each kind, a count of the rest, and no other error
hidden behind them.

Each flood comes from another place: a worker's callbacks, plain and async, its event loop, its
refused clients, a task worker's attempts and timers, the manager's event.
"""

from __future__ import annotations

import json
import re
import time

import pytest

from ipckit.server.line_limit import BURST

TIMES = 2000
FEW = 200  # of what costs a transaction of SQLite each
PROGRAM = f"""
import asyncio, json, os

TIMES = {TIMES}

async def raise_later(number):
    raise ArithmeticError(f"loop {{number}}")

@server.on("receive")
def receive(server, fd, reactor_id, data):
    verb = data.decode().strip()
    if verb == "stats":
        server.send(fd, json.dumps(server.stats()).encode() + b"\\n")
    elif verb == "other":
        raise LookupError("another error")
    elif verb == "raise":
        raise ArithmeticError("receive")
    elif verb == "await":
        return raise_later(0)
    elif verb == "loop":
        loop = asyncio.get_event_loop()
        for number in range(TIMES):
            loop.create_task(raise_later(number))
    elif verb == "timers":
        for number in range(TIMES):
            server.after(1, lambda: 1 / 0)
    else:
        server.task(verb)

@server.on("task")
def task(server, task_id, source, data):
    if data == "task timers":
        for number in range(TIMES):
            server.after(1, lambda: 1 / 0)
    elif data == "other task":
        raise LookupError("another error")
    elif data == "die":
        os._exit(7)
    elif data != "good":
        raise ArithmeticError("task")
    return data

@server.on("finish")
def finish(server, task_id, result):
    raise ArithmeticError("finish")

@server.on("worker_error")
def worker_error(server, *args):
    raise ArithmeticError("worker_error")
"""
SETTINGS = (
    'open_eof_split=True, package_eof="\\n", worker_num=1, task_worker_num=1, task_max_attempts=1, '
    "task_queue_size=100000, max_connection=20, log_file={log!r}"
)


def stats(server) -> dict:
    with server.connect() as client:
        client.sendall(b"stats\n")
        return json.loads(client.makefile().readline())


def written_and_left_out(text: str, line: str) -> tuple[int, int]:
    """How many lines with this in them a log has, and how many more it says that there were."""
    of_kind = [each for each in text.splitlines() if line in each]
    counts = [re.search(r"(\d+) more lines like this one were left out", each) for each in of_kind]
    left_out = [int(found[1]) for found in counts if found is not None]
    return len(of_kind) - len(left_out), sum(left_out)


@pytest.mark.parametrize(
    ("verb", "times", "count", "line"),
    [
        ("raise", TIMES, "callback_errors", "receive raised ArithmeticError"),
        ("await", TIMES, "callback_errors", "receive raised ArithmeticError"),
        ("timers", 1, "callback_errors", "a timer's callback raised ZeroDivisionError"),
        ("good", TIMES, "callback_errors", "finish raised ArithmeticError"),
        ("bad", FEW, "task_buried", "attempt 1 failed: ArithmeticError"),
        ("bad", FEW, "task_buried", "was given up after 1 attempts"),
        ("task timers", 1, "callback_errors", "a timer's callback raised ZeroDivisionError"),
    ],
    ids=["receive", "async receive", "timer", "finish", "attempt", "given up", "task timer"],
)
def test_a_flood_of_errors_is_few_lines_and_a_count(small, tmp_path, verb, times, count, line):
    """F29, S22."""
    log = tmp_path / "log"
    server = small(PROGRAM, SETTINGS.format(log=str(log)))
    other = b"other task\n" if verb in ("bad", "task timers") else b"other\n"
    began = time.monotonic()
    with server.connect() as client:
        client.sendall(f"{verb}\n".encode() * times + other)
        expected = FEW if verb == "bad" else TIMES
        server.wait_for(lambda: stats(server)[count] >= expected)
    server.wait_for(lambda: "another error" in log.read_text())
    server.end()
    text = log.read_text()
    written, left_out = written_and_left_out(text, line)
    assert expected <= written + left_out <= expected + 2, "the other error's may be of this kind"
    assert written <= BURST + (time.monotonic() - began) + 2
    assert len(text) < 100_000, f"{len(text)} bytes"


def test_a_flood_in_the_event_loop_is_few_lines(small, tmp_path):
    """F29: what asyncio logs itself, where a coroutine raised that nobody awaits."""
    log = tmp_path / "log"
    began = time.monotonic()
    server = small(PROGRAM, SETTINGS.format(log=str(log)))
    with server.connect() as client:
        client.sendall(b"loop\nother\n")
        server.wait_for(lambda: "another error" in log.read_text())
    stderr = server.end()
    line = "Task exception was never retrieved"
    written, left_out = written_and_left_out(stderr + log.read_text(), line)
    assert written + left_out == TIMES
    assert written <= BURST + (time.monotonic() - began) + 2


def test_refused_clients_are_few_lines(small, tmp_path):
    """F29: max_connection."""
    log = tmp_path / "log"
    server = small(PROGRAM, SETTINGS.format(log=str(log)))
    held = [server.connect() for _ in range(20)]
    for _ in range(200):
        with server.connect() as client:
            try:
                assert client.recv(1) == b""
            except ConnectionResetError:
                pass
    for client in held:
        client.close()
    server.end()
    text = log.read_text()
    written, left_out = written_and_left_out(text, "max_connection=20 are open")
    assert written + left_out == 200 and left_out


def test_deaths_without_end_are_few_lines_and_so_are_their_events(small, tmp_path):
    """F29: the manager's own lines."""
    log = tmp_path / "log"
    began = time.monotonic()
    server = small(PROGRAM, SETTINGS.format(log=str(log)))
    with server.connect() as client:
        client.sendall(b"die\n" * 60)
        server.wait_for(lambda: stats(server)["task_buried"] >= 60)
        server.wait_for(lambda: stats(server)["callback_errors"] >= 60)
    server.end()
    text = log.read_text()
    # Two kinds have "died" in them: the other one is what the worker says of a task given up.
    for line, kinds in (("died: ", 2), ("worker_error raised ArithmeticError", 1)):
        written, left_out = written_and_left_out(text, line)
        assert written + left_out >= 60
        assert 0 < written <= kinds * (BURST + (time.monotonic() - began) + 2)

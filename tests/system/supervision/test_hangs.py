"""Workers that hang, and workers that leave: worker_hang_timeout, worker_exit, reload_async."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time

import pytest
from serving import LOOK

ECHO = """
import signal, time

@server.on("receive")
def receive(server, fd, reactor_id, data):
    if data == b"hang":
        block_for_ever()
    server.send(fd, str(os.getpid()).encode())

def block_for_ever():
    while True:
        pass
"""


def pid_of(server) -> int:
    with server.connect() as client:
        client.sendall(b"who")
        return int(client.recv(100))


def successor_of(server, first) -> int:
    """Ask until one answers: the hung worker takes clients along that it had accepted."""
    end = time.monotonic() + LOOK
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionResetError, ValueError):
            return pid_of(server)
    raise AssertionError(f"nobody serves after process {first}")


@pytest.mark.parametrize("how", ["callback", "stopped"])
def test_a_worker_that_hangs_is_replaced(small, how):
    """S15: in a callback that blocks, or stopped."""
    server = small(ECHO, "worker_hang_timeout=2")
    first = pid_of(server)
    with server.connect() as client:
        if how == "callback":
            client.sendall(b"hang")
        else:
            os.kill(first, signal.SIGSTOP)
        assert successor_of(server, first) != first
    log = server.end()
    assert re.search(r"worker 0 hangs: its loop has not turned for \d+\.\d s ", log)
    if how == "callback":
        assert "in block_for_ever" in log, "the stack dump"
        assert "signal 6" in log
    else:
        assert "signal 9" in log, "a stopped process dumps nothing"


def test_a_busy_worker_does_not_hang(small):
    """S15: a worker that works is left alone, for longer than a worker may hang."""
    server = small(ECHO, "worker_hang_timeout=5")
    first = pid_of(server)
    end = time.monotonic() + 6
    while time.monotonic() < end:
        assert pid_of(server) == first
    assert "hangs" not in server.end()


LEAVING = """
left = asyncio.Event()

def say(*words):  # one write: two processes share the pipe
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

@server.on("receive")
async def receive(server, fd, reactor_id, data):
    if data == b"reload":
        server.reload()
        return
    say("begins")
    try:
        await (left if {patient} else asyncio.Event()).wait()
        say("over")
    except asyncio.CancelledError:
        say("cancelled")
        raise

@server.on("worker_exit")
def worker_exit(server, worker_id):
    say("worker_exit", worker_id)
    left.set()

@server.on("worker_stop")
def worker_stop(server, worker_id):
    say("worker_stop", worker_id)

@server.on("after_reload")
def after_reload(server):
    say("reloaded")

@server.on("task")
def task(server, task_id, source, data):
    pass
"""


def words_until(server, last):
    """Read lines of the program up to `last`."""
    words = []
    while last not in words:
        line = server.process.stdout.readline()  # the test's own time limit is the deadline
        assert line, words
        words.append(line.decode().strip())
    return words


@pytest.mark.parametrize(("patient", "how"), [(True, "over"), (False, "cancelled")])
def test_what_a_worker_that_leaves_waits_for(small, patient, how):
    server = small(LEAVING.replace("{patient}", str(patient)), f"reload_async={patient}")
    with server.connect() as slow, server.connect() as asks:
        slow.sendall(b"slow")
        assert words_until(server, "begins") == ["begins"]
        asks.sendall(b"reload")
        words = words_until(server, "worker_stop 0")
    assert [word for word in words if word != "reloaded"] == ["worker_exit 0", how, "worker_stop 0"]


def test_task_workers_are_told_too(small):
    server = small(LEAVING.replace("{patient}", "True"), "task_worker_num=1")
    out = server.end().splitlines()
    words = [word for word in out if word.startswith("worker_")]
    for number in (0, 1):
        mine = [word for word in words if word.endswith(str(number))]
        assert mine == [f"worker_exit {number}", f"worker_stop {number}"]

"""What the heads of the examples say of a crash: each process is killed where it hurts most."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from example_programs import (  # noqa: F401 (a fixture)
    EXAMPLES,
    LOOK,
    gunicorn,
    run,
    serve,
    wait_for_line,
)

from ipckit import WaitTimeout


def ask(port: int, number: int) -> list[str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LOOK)
    try:
        connection.request("GET", f"/square?{number}")
        kind, value, _ = connection.getresponse().read().decode().split()
        assert value == str(number**2)
        return [kind, value]
    finally:
        connection.close()


CACHE = ("--preload", "--workers", "3", "gunicorn_cache:app")


def test_a_worker_is_killed_while_it_fills_the_cache(tmp_path, monkeypatch):
    """One worker makes 7 and is killed, another one waits for it, a third one goes on with 8."""
    monkeypatch.setenv("CACHE_WORK", "5")
    log = tmp_path / "gunicorn.log"
    with gunicorn(tmp_path, *CACHE) as port, ThreadPoolExecutor(3) as clients:
        cut_off = clients.submit(ask, port, 7)
        killed = wait_for_line(log, r"worker (\d+) makes 7")[1]
        waits = clients.submit(ask, port, 7)
        goes_on = clients.submit(ask, port, 8)
        wait_for_line(log, r"worker \d+ makes 8")
        os.kill(int(killed), signal.SIGKILL)
        assert waits.result(LOOK) == ["miss", "49"] and goes_on.result(LOOK) == ["miss", "64"]
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            cut_off.result(LOOK)
        makers = re.findall(r"worker (\d+) makes 7", log.read_text())
        assert makers[0] == killed and len(set(makers)) == len(makers) == 2, "it is made anew, once"
        assert ask(port, 7) == ["hit", "49"]


def test_an_answer_is_made_once_whoever_asks_at_the_same_time(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE_WORK", "0.2")
    with gunicorn(tmp_path, *CACHE) as port, ThreadPoolExecutor(3) as clients:
        kinds = [kind for kind, _ in clients.map(ask, [port] * 6, [7] * 6)]
    assert sorted(kinds) == ["hit"] * 5 + ["miss"]


def test_an_answer_is_kept_for_its_time_and_no_longer(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE_TTL", "0.5")
    with gunicorn(tmp_path, *CACHE) as port:
        began = time.monotonic()
        assert ask(port, 7) == ["miss", "49"]
        while ask(port, 7)[0] == "hit":
            assert time.monotonic() < began + LOOK, "it is never over"
            select.select([], [], [], 0.01)
        assert time.monotonic() - began >= 0.5, "it was over too early"


def test_a_full_cache_forgets_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE_ROWS", "8")
    with gunicorn(tmp_path, *CACHE) as port, ThreadPoolExecutor(3) as clients:
        for _ in range(3):
            kinds = [kind for kind, _ in clients.map(ask, [port] * 40, range(40))]
            assert kinds.count("miss") >= 32, "8 rows hold 8 answers"
        ask(port, 100)
        assert ask(port, 100)[0] == "hit", "the newest is there"


def test_a_process_is_killed_in_the_lock_of_the_rate_limiter(monkeypatch):
    """It has read the row and not written it: its caller waits, nobody else, and loses no token."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from rate_limiter import RateLimiter

    reading, writing = os.pipe()
    parent = os.getpid()

    def clock() -> float:
        if os.getpid() != parent:
            os.write(writing, b"!")  # it is asked for inside the lock
            signal.pause()
        return 1.0

    limiter = RateLimiter(per_second=0, burst=3, callers=2, clock=clock)
    assert limiter.allow("ada")
    before = limiter.buckets["ada"]
    child = os.fork()
    if child == 0:
        limiter.allow("ada")
        os._exit(1)
    try:
        assert select.select([reading], [], [], LOOK)[0], "it did not come into the lock"
        with pytest.raises(WaitTimeout), limiter.buckets.lock("ada", timeout=0):
            pass
        assert limiter.buckets["ada"] == before and limiter.allow("bob"), "others go on"
    finally:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert limiter.buckets["ada"] == before and limiter.buckets.verify() == []
    assert [limiter.allow("ada") for _ in range(3)] == [True, True, False], "as if it never asked"
    limiter.buckets.close()


def wait_for_stats(**expected: int) -> None:
    end = time.monotonic() + LOOK
    while True:
        found = json.loads(run(sys.executable, "-m", "ipckit", "status", "--json"))["stats"]
        if expected.items() <= found.items():
            return
        assert time.monotonic() < end, found


def test_a_task_worker_is_killed_in_the_middle_of_a_note(serve, tmp_path, monkeypatch):
    """The database is locked until after the kill, so the note is begun and cannot end."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    server = serve("database_server.py", str(tmp_path / "notes.sqlite"))
    opened = r"process (\d+) has a connection"
    first = re.findall(opened, server.log.read_text())
    assert len(set(first)) == 2, "one for each task worker"
    locker = sqlite3.connect(tmp_path / "notes.sqlite", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    with server.client() as client:
        client.send(b"buy milk\n")
        wait_for_stats(task_running=1, task_failed=0)
        for number in (signal.SIGSTOP, signal.SIGKILL):  # else the other one takes the task up
            for pid in first:
                os.kill(int(pid), number)
        wait_for_stats(task_running=1, task_failed=1)
        locker.execute("ROLLBACK")
        assert client.recv() == b"kept: buy milk\n"
        wait_for_stats(task_done=1, task_failed=1, task_retries=1)
        wait_for_line(server.log, f"(?s)(.*{opened}){{4}}")
    kept = locker.execute("SELECT text FROM notes").fetchall()
    locker.close()
    assert kept == [("buy milk",)]
    assert len(set(re.findall(opened, server.log.read_text()))) == 4, "two of the successors"

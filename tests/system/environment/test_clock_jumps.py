"""The wall clock is set while a server runs: nobody is taken for silent, and deaths are answered.

The jump is libfaketime's: CLOCK_REALTIME of the server's processes only, read from a file.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from watching import all_are_copied

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
pytestmark = pytest.mark.needs_faketime

ANSWERS = """
import json, time

@server.on("receive")
def receive(server, fd, reactor_id, data):
    info = server.get_client_info(fd)
    server.send(fd, json.dumps({
        "pid": os.getpid(),
        "now": time.time(),
        "silent": server.heartbeat(close=False),
        "idle": time.time() - info["last_time"],
    }).encode() + b"\\n")
"""
DAY = 86400.0


def ask(sock) -> dict:
    sock.sendall(b"now\n")
    with sock.makefile("rb") as answers:
        return json.loads(answers.readline())


@pytest.fixture
def set_clock(tmp_path, monkeypatch):
    """Return what sets the clock of the servers that are started from now on."""
    file = tmp_path / "offset"

    def set_to(offset: str) -> None:
        (tmp_path / "next").write_text(offset)
        os.replace(tmp_path / "next", file)

    set_to("+0")
    for name, value in {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }.items():
        monkeypatch.setenv(name, value)
    return set_to


@pytest.mark.parametrize(("offset", "jump"), [("+1d", DAY), ("-1d", -DAY)])
def test_a_jump_of_a_day(small, set_clock, offset, jump):
    """S30: a client that is idle for a moment is not taken for silent, and what dies is replaced."""
    server = small(
        ANSWERS,
        'open_eof_split=True, package_eof="\\n", heartbeat_idle_time=600, '
        "heartbeat_check_interval=300",
    )
    with server.connect() as idle, server.connect() as sock:
        ask(idle)
        before = ask(sock)
        assert abs(before["now"] - time.time()) < DAY / 2
        set_clock(offset)
        after = ask(sock)
        assert abs(after["now"] - before["now"] - jump) < DAY / 2, "the clock was not set"
        assert after["silent"] == []
        assert 0 <= after["idle"] < 600
        server.wait_for(lambda: all_are_copied(server.process.pid, server.address[1]))
        os.kill(after["pid"], signal.SIGKILL)
        with server.connect() as again:
            assert ask(again)["pid"] != after["pid"]
        assert ask(idle)["silent"] == []
    server.end()

"""A server goes on when its log cannot be written, or its standard descriptors were closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from deadlines import LOOK
from serving import children_of, wait_for


def start_with(code: str, *, stderr, redirect: str = "") -> subprocess.Popen:
    """Start a server program in whose shell line standard descriptors may be closed."""
    return subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$0" -c "$1" {redirect}', sys.executable, textwrap.dedent(code)],
        stderr=stderr,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )


PROGRAM = """
import os, ipckit
server = ipckit.Server("127.0.0.1", 0, worker_num=2)
server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))

@server.on("start")
def start(server):
    with open({path!r} + ".new", "w") as file:
        file.write(str(server.port))
    os.rename({path!r} + ".new", {path!r})

server.start()
"""


def survives(process: subprocess.Popen, path: Path) -> None:
    """A worker's death and a reload later the server is the same, with new workers."""
    try:
        wait_for(lambda: path.exists() or process.poll() is not None)
        assert process.poll() is None
        first = children_of(process)
        os.kill(min(first), signal.SIGKILL)
        wait_for(lambda: len(children_of(process) - first) == 1 or process.poll() is not None)
        assert process.poll() is None
        process.send_signal(signal.SIGUSR1)
        wait_for(lambda: not children_of(process) & first or process.poll() is not None)
        process.terminate()
        assert process.wait(LOOK) in (0, 120), "120: the interpreter could not write out sys.stderr"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.mark.parametrize("how", ["reader gone", "disk full"])
def test_f2_what_takes_the_log_is_gone(tmp_path, how):
    """F2: EPIPE and ENOSPC of stderr."""
    path = tmp_path / "port"
    code = PROGRAM.format(path=str(path))
    if how == "disk full":
        with open("/dev/full", "w") as full:
            process = start_with(code, stderr=full)
    else:
        process = start_with(code, stderr=subprocess.PIPE)
        process.stderr.close()
    survives(process, path)


@pytest.mark.parametrize("redirect", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_f2_standard_descriptors_that_are_closed(tmp_path, redirect):
    """F2: sys.stdout or sys.stderr is None; and no connection gets such a number."""
    path = tmp_path / "port"
    process = start_with(PROGRAM.format(path=str(path)), stderr=None, redirect=redirect)
    wait_for(lambda: path.exists() or process.poll() is not None)
    if process.poll() is None:
        for pid in (process.pid, *children_of(process)):
            assert {0, 1, 2} <= set(map(int, os.listdir(f"/proc/{pid}/fd")))
            for fd in range(3):
                assert "socket" not in os.readlink(f"/proc/{pid}/fd/{fd}")
    survives(process, path)

"""A server to look at from outside (`ipckit top`, `ipckit metrics`), and what holds it still."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time

import pytest
from leaks import state
from serving import LOOK, wait_for

WORK = """
@server.on("receive")
def receive(server, fd, reactor_id, data):
    for word in data.decode().split():
        server.task(word)
    server.send(fd, b"ok")

@server.on("task")
def task(server, task_id, src_worker_id, data):
    if data == "fail" and not os.path.exists(MENDED):
        raise ValueError("no such image")
    if data == "wait":
        while not os.path.exists(MENDED):
            select.select([], [], [], 0.01)

@server.on("finish")
def finish(server, task_id, result):
    pass
"""


@pytest.fixture
def served(small, tmp_path):
    """A server with 1 worker and 2 task workers; its control socket and pid file."""
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    code = f"import select\nMENDED = {str(tmp_path / 'mended')!r}\n{WORK}"
    server = small(
        code,
        f"task_worker_num=2, runtime_dir={str(run)!r}, pid_file={str(tmp_path / 'pid')!r}, "
        f"task_max_attempts=1, max_wait_time=1",
    )
    yield server
    (tmp_path / "mended").touch()


@pytest.fixture
def view(served, tmp_path):
    """A running `ipckit top --web`: its process; `args` ends with its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["top", str(tmp_path / "pid"), "--interval", "0.2", "--web", "--port", str(port)]
    line = [sys.executable, "-m", "ipckit", *words]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as view:
        said = view.stdout.readline()
        assert said == f"serving http://127.0.0.1:{port} (Ctrl-C ends it)\n".encode()
        yield view
        if view.returncode is None:
            view.send_signal(signal.SIGINT)
        assert view.wait(LOOK) == 0


@pytest.fixture
def web(view) -> str:
    """Its address."""
    return f"http://127.0.0.1:{view.args[-1]}"


def ask(server, words: str) -> None:
    with server.connect() as client:
        client.sendall(words.encode())
        assert client.recv(10) == b"ok"


@contextlib.contextmanager
def stopped(pid: int):
    """A signal has stopped the process, for the time of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: state(pid) in ("T", "t"))
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def all_are_copied(manager: int, port: int) -> bool:
    """Whether the manager has a copy of every connection of this TCP port: proc(5), net/tcp."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    ours = {
        f"socket:[{row[9]}]"
        for row in rows
        if row[3] == "01" and int(row[1].rpartition(":")[2], 16) == port
    }
    held = set()
    for fd in os.listdir(f"/proc/{manager}/fd"):
        with contextlib.suppress(FileNotFoundError):
            held.add(os.readlink(f"/proc/{manager}/fd/{fd}"))
    return ours <= held


def until(look, condition):
    """Look until the condition holds of what is seen; return that."""
    end = time.monotonic() + LOOK
    while not condition(seen := look()):
        assert time.monotonic() < end, seen
        select.select([], [], [], 0.02)
    return seen

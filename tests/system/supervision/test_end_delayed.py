"""F42: a server ends in order at whatever step of its processes a SIGTERM comes, and however long
one of their system calls takes during the end.

The steps are lines of ipckit's code, counted by sys.settrace() from the moment that the server
serves: at the n-th one in the manager the process signals itself. At the n-th one in a worker or a
task worker it signals the manager, and stays at that line until the manager's word and signal have
come. The calls are those that strace(1) counts from the signal on; it delays the n-th of a name.
Each test takes a part of the steps, of equal distance; `IPCKIT_ALL_STEPS=1` takes all.

What was searched for once, beside these steps: a SIGTERM on entry of a call of a manager that
begins to serve and reloads, 247 of 415 calls; 0.4 s before or after each call of the end, all 122
of the manager, 41 of a worker, 5 of a task worker; and all 164 of a manager that gets SIGUSR1 and
SIGTERM together. No server was left that had not ended. What was found: a second SIGTERM while the
files are removed ended the program there, and they stayed.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path

import forkserver
import pytest
from serving import LOOK, SERVER, Small, wait_for

import ipckit.server

ALL = os.environ.get("IPCKIT_ALL_STEPS") == "1"

PROGRAM = """
import select, signal
signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # it may come when the server has ended
OURS = {ours!r}
ROLE, left = {role!r}, {at}

def come():
    if ROLE.startswith("manager"):
        os.kill(os.getpid(), signal.SIGTERM)
        return
    os.kill(os.getppid(), signal.SIGTERM)
    while not server._process.stopping:  # the manager has said it; its signal is next
        select.select([], [], [], 0.001)

def step(frame, event, arg):
    global left
    if os.getpid() != process:  # a child that was forked meanwhile
        sys.settrace(None)
        return None
    if event == "line" and frame.f_code.co_filename.startswith(OURS):
        left -= 1
        if left == 0:
            sys.settrace(None)
            come()
    return step

def count():
    global process
    process = os.getpid()
    frame = sys._getframe(1)
    while frame is not None:
        frame.f_trace = step
        frame = frame.f_back
    sys.settrace(step)

@server.on("start")
def start(server):
    print(server.port, flush=True)
    if ROLE == "manager":
        count()

@server.on("receive")
def receive(server, fd, reactor_id, data):
    if ROLE == "worker":
        count()
    server.task(data, callback=lambda server, task_id, result: server.send(fd, b"done"))

@server.on("task")
def task(server, task_id, src_worker_id, data):
    if ROLE == "task worker":
        count()
    return "done"
"""
SETTINGS = "worker_num=1, task_worker_num=1"


def ended_in_order(server: Small) -> str:
    """It ends without another signal; return the log."""
    out, err = server.process.communicate(timeout=LOOK)
    assert server.process.returncode == 0, err.decode()
    log = (out + err).decode()
    assert "did not end" not in log and "died" not in log, log
    return log


def keep_it_busy(server: Small) -> None:
    """Task after task, until its end closes the connection."""
    with server.connect() as client, contextlib.suppress(OSError):
        client.sendall(b"task")
        while client.recv(10):
            client.sendall(b"task")


@pytest.mark.parametrize(
    ("role", "steps", "apart"), [("manager", 700, 23), ("worker", 120, 10), ("task worker", 60, 10)]
)
def test_a_sigterm_at_any_line(small, role, steps, apart):
    """F42, S18: in the manager's turns and a reload, in a worker's and a task worker's loop."""
    ours = str(Path(ipckit.server.__file__).parent) + os.sep
    for at in range(1, steps, 1 if ALL else apart):
        server = small(PROGRAM.format(ours=ours, role=role, at=at), SETTINGS)
        if role == "manager":
            server.process.send_signal(signal.SIGUSR1)
        else:
            keep_it_busy(server)
        ended_in_order(server)


DELAYED = """
server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))
server.on("task", print)
"""


def trace(pid: int, *options: str) -> subprocess.Popen:
    """Begin to trace a process; wait until it is."""
    tracer = subprocess.Popen(["strace", "-q", "-p", str(pid), *options], stderr=subprocess.PIPE)
    wait_for(lambda: "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text())
    return tracer


def roles(server: Small) -> dict[str, int]:
    """Task workers are made first."""
    task_worker, worker = sorted(server.children())
    return {"manager": server.process.pid, "worker": worker, "task worker": task_worker}


@pytest.mark.needs_strace
@pytest.mark.parametrize("role", ["manager", "worker", "task worker"])
def test_a_call_of_the_end_that_takes_its_time(small, tmp_path, role):
    """F42, S18: 0.4 s before or after it."""
    server = small(DELAYED, SETTINGS)
    record = tmp_path / "calls"
    tracer = trace(roles(server)[role], "-o", str(record))
    server.process.send_signal(signal.SIGTERM)
    ended_in_order(server)
    tracer.communicate(timeout=LOOK)
    called = Counter(re.findall(r"^(\w+)\(", record.read_text(), re.MULTILINE))
    called.pop("exit_group", None)
    steps = [(name, number + 1) for name in sorted(called) for number in range(called[name])]
    for at, (name, number) in enumerate(steps):
        if not ALL and at % (len(steps) // 8 + 1):
            continue
        server = small(DELAYED, SETTINGS)
        where = "delay_enter" if at % 2 else "delay_exit"
        inject = f"inject={name}:{where}=400000:when={number}"
        tracer = trace(roles(server)[role], "-o", os.devnull, "-e", f"trace={name}", "-e", inject)
        server.process.send_signal(signal.SIGTERM)
        ended_in_order(server)
        tracer.communicate(timeout=LOOK)


REMOVED = """
signal.signal(signal.SIGTERM, lambda *_: print("left", os.listdir(RUN), flush=True))

@server.on("shutdown")
def shutdown(server):
    count()
"""


def test_a_second_signal_while_files_are_removed(small, tmp_path):
    """F42, S18, S20: the caller's disposition comes back when nothing is left to be removed."""
    run = tmp_path / "run"
    ours = str(Path(ipckit.server.__file__).parent) + os.sep
    settings = f"{SETTINGS}, runtime_dir={str(run)!r}"
    for at in range(1, 400, 1 if ALL else 23):
        code = PROGRAM.format(ours=ours, role="manager, at its end", at=at)
        server = small(f"RUN = {str(run)!r}\n{code}{REMOVED}", settings)
        server.process.send_signal(signal.SIGTERM)
        log = ended_in_order(server)
        assert os.listdir(run) == []
        assert [line for line in log.splitlines() if line.startswith("left [")] in ([], ["left []"])


STARTED = """
def come():
    os.write(1, b"comes")
    os.kill(os.getpid(), signal.SIGTERM)

count()
"""


@pytest.mark.parametrize("pid_file", ["pid", "no-such-directory/pid"])
def test_a_sigterm_at_any_line_of_the_start(tmp_path, monkeypatch, pid_file):
    """S18, S41: the server ends in order, also one that does not come up; the signal ends the
    program where there is no server yet, or none any more. No file of a server is left.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir(mode=0o700)
    before = leaves(tmp_path)
    ours = str(Path(ipckit.server.__file__).parent) + os.sep
    settings = f"{SETTINGS}, runtime_dir='run', pid_file={pid_file!r}"
    comes_up = pid_file == "pid"
    for at in range(1, 3000, 1 if ALL else 113):
        code = PROGRAM.format(ours=ours, role="manager, at its start", at=at) + STARTED
        code = SERVER.format(host="127.0.0.1", settings=settings, callbacks=code)
        done = forkserver.run(code, LOOK)
        assert leaves(tmp_path) == before, f"line {at}"
        if "comes" not in done.stdout:
            assert not comes_up and at > 1
            break
        assert done.returncode in ((0, -signal.SIGTERM) if comes_up else (-signal.SIGTERM,)), at


def leaves(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))

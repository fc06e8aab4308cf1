"""Kill a server whose parent, PID 1, reaps nobody; then ask every command about it.

Prints a line of JSON: what `ls`, `doctor`, `top`, `status` and a look from outside say of the dead
server, the states of its processes, and what the next start removes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deadlines import LOOK

import ipckit
from ipckit.metrics import Watching

PID_FILE = "/run/pid"
SETTINGS: dict[str, Any] = {"task_worker_num": 1, "task_ipc_mode": 2, "pid_file": PID_FILE}


def wait_for(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + LOOK
    while not condition():
        assert time.monotonic() < end
        select.select([], [], [], 0.005)


def serve(told: int) -> None:
    server = ipckit.Server("127.0.0.1", 0, worker_num=1, **SETTINGS)
    server.on("receive", lambda *_: None)
    server.on("task", lambda *_: None)
    server.on("start", lambda _: os.write(told, b"up"))
    server.start()


def begin() -> int:
    """Start a server whose parent is PID 1; return its manager's pid when it is up."""
    reading, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:
            os.setsid()
            serve(told)
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(told)
    with open(reading, "rb") as up:
        assert up.read(2) == b"up"
    return int(Path(PID_FILE).read_text())


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ipckit_says(*words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "ipckit", *words],
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def main() -> None:
    manager = begin()
    family = [manager, *children(manager)]
    watching = Watching(PID_FILE)
    os.kill(manager, signal.SIGSTOP)
    for pid in reversed(family):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(state(pid) == "Z" for pid in family))
    found = {
        "states": [state(pid) for pid in family],
        "ls": ipckit_says("ls", "--json"),
        "doctor": ipckit_says("doctor", "--set", "max_connection=1", "--json"),
        "top": ipckit_says("top", "--once", PID_FILE),
        "status": ipckit_says("status"),
        "watching": [[each.name, each.value] for one in watching.collect() for each in one.samples],
    }
    second = begin()
    found["then"] = ipckit_says("ls", "--json")
    os.kill(second, signal.SIGTERM)
    wait_for(lambda: state(second) == "Z")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

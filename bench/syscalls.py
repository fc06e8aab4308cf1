"""System calls for one request and for one task, under load, counted by strace in each process.

strace makes each call slow, so processes wait less for each other than they do without it: what
is counted is the work, not the waits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.programs import built
from ipckit.cli.bench.rounds import Row
from ipckit.cli.bench.yardsticks import children, echo_server, served
from ipckit.server import Server

SECONDS = 1.0
TASKS = 20_000
BODY = "x" * 100


class Counter:
    """strace -c on some processes, one each."""

    def __init__(self, *pids: int) -> None:
        self._runs = [
            subprocess.Popen(
                ["strace", "-q", "-c", "-U", "calls,name", "-p", str(pid)],
                stderr=subprocess.PIPE,
                text=True,
            )
            for pid in pids
        ]
        for pid in pids:  # until it is traced
            while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
                time.sleep(0.001)

    def stop(self) -> list[dict[str, int]]:
        """Return calls by name of each."""
        found = []
        for run in self._runs:
            run.send_signal(signal.SIGINT)
        for run in self._runs:
            words = [line.split() for line in run.communicate()[1].splitlines()]
            counted = [pair for pair in words if len(pair) == 2 and pair[0].isdigit()]
            found.append({name: int(calls) for calls, name in counted if name != "total"})
        return found


def told(calls: dict[str, int], count: float) -> str:
    """Return the calls of one request, the most common first."""
    each = sorted(((number / count, name) for name, number in calls.items()), reverse=True)
    return ", ".join(f"{name} {number:.2f}" for number, name in each if number >= 0.005)


def of_echo(depth: int) -> Iterator[Row]:
    """Of a worker, for each request."""
    found: dict[str, int] = {}
    requests = 0.0

    def measure(port: int, pid: int) -> float:
        nonlocal found, requests
        counter = Counter(children(pid)[0])
        wanted = [built("loadgen"), port, 50, 100, SECONDS, depth]
        rate = subprocess.check_output([str(word) for word in wanted]).split()[0]
        (found,) = counter.stop()
        requests = float(rate) * SECONDS
        return requests

    served(echo_server, measure)
    waits = sum(number for name, number in found.items() if name.startswith("epoll"))
    total = sum(found.values()) - waits
    what = f"an echo, {depth} in flight: {told(found, requests)}"
    goal = 2.02 if depth == 1 else None
    each = total / requests
    yield Row(
        what, each, "a read and a write, without the waits", 2, "calls", each / 2, goal and 1.01
    )


def tasks(mode: int, report: Any) -> None:
    """Serve; count in worker and task worker between the first task and the last."""
    made = Server("127.0.0.1", 0, worker_num=1, task_worker_num=1, task_ipc_mode=mode)
    made.set(log_level="ERROR")
    made.on("receive", lambda *_: None)
    made.on("task", lambda *_: "ok")
    done = 0

    def finish(server: Server, _task_id: int, _result: object) -> None:
        nonlocal done
        done += 1
        if done <= TASKS - 32:
            server.task(BODY)
        if done == TASKS:
            os.kill(server.master_pid, signal.SIGTERM)

    def begin(server: Server, worker_id: int) -> None:
        if worker_id == 0:
            server.after(1.0, lambda: [server.task(BODY) for _ in range(32)])

    made.on("worker_start", begin)
    made.on("finish", finish)
    made.on("start", lambda server: report([each["pid"] for each in server.stats()["workers"]]))
    made.start()


def of_tasks(mode: int) -> Iterator[Row]:
    """Of worker and task worker, for each task with 32 in flight; the ends of both included."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        tasks(mode, lambda pids: os.write(writing, json.dumps(pids).encode() + b"\n"))
        os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        pids = json.loads(pipe.readline())
    counter = Counter(*pids)
    os.waitpid(pid, 0)
    for role, found in zip(("worker", "task worker"), counter.stop(), strict=True):
        each = sum(found.values()) / TASKS
        what = f"a task in its {role}, mode {mode}: {told(found, TASKS)}"
        yield Row(what, each, "one call", 1, "calls", each, 1.0)


def main() -> Iterator[Row]:
    """Count."""
    for depth in (1, 16):
        yield from of_echo(depth)
    for mode in (1, 2, 3):
        yield from of_tasks(mode)

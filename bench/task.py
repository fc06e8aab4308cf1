"""Task round trips through one worker and one task worker, in every mode.

Against the floor for two Python processes: bare loops over a datagram socket pair, pickle on both
sides. With 32 in flight the floor's loops poll; with 1 they block, a bare ping-pong.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from bench.rounds import in_a_process, medians
from ipckit import Server

Report = Callable[[float], None]


class Load(NamedTuple):
    """What is asked for."""

    name: str
    tasks: int
    window: int
    data: str
    goal: float  # times the floor's rate


LOADS = (
    Load("100 B, 32 in flight", 100_000, 32, "x" * 100, 2.0),
    Load("100 B, 1 in flight", 20_000, 1, "x" * 100, 2.5),
    Load("100 kB, 8 in flight", 10_000, 8, "x" * 100_000, 1.0),
)


def floor(load: Load, report: Report) -> None:
    """Two bare loops."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    pid = os.fork()
    polled = load.window > 1
    ours.setblocking(not polled)
    theirs.setblocking(not polled)
    if pid == 0:
        _answer(theirs)
    poll = select.epoll()
    poll.register(ours, select.EPOLLIN)
    sent = done = 0
    began = time.perf_counter()
    while done < load.tasks:
        while sent < load.tasks and sent - done < load.window:
            ours.send(pickle.dumps((sent, 0, load.data), 5))
            sent += 1
        try:
            pickle.loads(ours.recv(1 << 18))
        except BlockingIOError:
            poll.poll()
        else:
            done += 1
    report(load.tasks / (time.perf_counter() - began))
    ours.send(pickle.dumps((0, 0, None), 5))
    os.waitpid(pid, 0)


def _answer(end: socket.socket) -> None:
    poll = select.epoll()
    poll.register(end, select.EPOLLIN)
    while True:
        try:
            number, _source, data = pickle.loads(end.recv(1 << 18))
        except BlockingIOError:
            poll.poll()
            continue
        if data is None:
            os._exit(0)
        end.send(pickle.dumps((number, "ok"), 5))


def server(load: Load, mode: int, report: Report) -> None:
    """The same through a Server."""
    made = Server("127.0.0.1", 0, worker_num=1, task_worker_num=1, task_ipc_mode=mode)
    made.set(log_level="ERROR")
    made.on("receive", lambda *_: None)
    made.on("task", lambda *_: "ok")
    done = 0
    began = 0.0

    def begin(server: Server, worker_id: int) -> None:
        nonlocal began
        if worker_id == 0:
            began = time.perf_counter()
            for _ in range(load.window):
                server.task(load.data)

    def finish(server: Server, task_id: int, result: object) -> None:
        nonlocal done
        done += 1
        if done <= load.tasks - load.window:
            server.task(load.data)
        if done == load.tasks:
            report(load.tasks / (time.perf_counter() - began))
            server.shutdown()

    made.on("worker_start", begin)
    made.on("finish", finish)
    made.start()


def main() -> dict[str, float]:
    """Measure, print, and return tasks per second."""
    figures: dict[str, float] = {}
    for load in LOADS:
        runs = {"floor": partial(in_a_process, partial(floor, load))}
        for mode in (1, 2, 3):
            runs[f"mode {mode}"] = partial(in_a_process, partial(server, load, mode))
        found = medians(runs)
        print(f"{load.name}; goal {load.goal:g} of the floor")
        for name, value in found.items():
            print(f"  {name:8} {value:10,.0f} tasks/s   {value / found['floor']:.2f} of the floor")
            figures[f"{load.name}, {name}"] = value
    return figures

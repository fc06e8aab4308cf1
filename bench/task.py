"""Task round trips, 100 bytes, 32 in flight, one worker and one task worker, in every mode.

Against the floor for two Python processes: bare loops over a datagram socket pair, pickle on both
sides. Rounds alternate; medians of five.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import statistics
import time
from collections.abc import Callable

from ipckit import Server

ROUNDS, TASKS, WINDOW = 5, 20_000, 32
DATA = "x" * 100


def floor(report: Callable[[float], None]) -> None:
    """Two bare loops."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    pid = os.fork()
    if pid == 0:
        while True:
            number, data = pickle.loads(theirs.recv(65536))
            if data is None:
                os._exit(0)
            theirs.send(pickle.dumps((number, "ok"), 5))
    ours.setblocking(False)
    poll = select.epoll()
    poll.register(ours, select.EPOLLIN)
    sent = done = 0
    began = time.perf_counter()
    while done < TASKS:
        while sent < TASKS and sent - done < WINDOW:
            ours.send(pickle.dumps((sent, DATA), 5))
            sent += 1
        try:
            pickle.loads(ours.recv(65536))
        except BlockingIOError:
            poll.poll()
        else:
            done += 1
    report(TASKS / (time.perf_counter() - began))
    ours.send(pickle.dumps((0, None), 5))
    os.waitpid(pid, 0)
    poll.close()
    ours.close()
    theirs.close()


def server(mode: int, report: Callable[[float], None]) -> None:
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
            for _ in range(WINDOW):
                server.task(DATA)

    def finish(server: Server, task_id: int, result: object) -> None:
        nonlocal done
        done += 1
        if done <= TASKS - WINDOW:
            server.task(DATA)
        if done == TASKS:
            report(TASKS / (time.perf_counter() - began))
            server.shutdown()

    made.on("worker_start", begin)
    made.on("finish", finish)
    made.start()


def measured(run: Callable[[Callable[[float], None]], None]) -> float:
    """Run it in a process of its own; return what it reports."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        run(lambda figure: os.write(writing, repr(figure).encode()) and None)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        figure = float(pipe.read())
    os.waitpid(pid, 0)
    return figure


def main() -> dict[str, float]:
    """Measure, print, and return tasks per second."""
    runs: dict[str, Callable[[Callable[[float], None]], None]] = {"floor": floor}
    for mode in (1, 2, 3):
        runs[f"mode {mode}"] = lambda report, mode=mode: server(mode, report)  # type: ignore[misc]
    figures: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            figures[name].append(measured(run))
    found = {name: statistics.median(values) for name, values in figures.items()}
    for name, value in found.items():
        print(f"{name:8} {value:10,.0f} tasks/s   {value / found['floor']:.2f} of the floor")
    return found

"""The least that Python needs for the same work: bare loops, to measure a server beside them.

Stands on pickle and a datagram socket pair (tasks), uvloop (echo). Each runs in processes of its
own and leaves none behind.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import uvloop

from ipckit.server import Server

__all__ = [
    "bare_echo",
    "bare_tasks",
    "children",
    "cpu_ns",
    "echo_server",
    "served",
    "server_tasks",
    "worker_of",
]

Report = Callable[[float], Any]
Ready = Callable[[int], Any]


# -- tasks: how many a second, so many in flight, one process that runs them ---


def bare_tasks(tasks: int, window: int, data: str, report: Report) -> None:
    """Two bare loops over a socket pair. More than one in flight: they poll; one: they block."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    polled = window > 1
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        end.setblocking(not polled)
    pid = os.fork()
    if pid == 0:
        _answer(theirs)
    poll = select.epoll()
    poll.register(ours, select.EPOLLIN)
    sent = done = 0
    began = time.perf_counter()
    while done < tasks:
        while sent < tasks and sent - done < window:
            ours.send(pickle.dumps((sent, 0, data), 5))
            sent += 1
        try:
            pickle.loads(ours.recv(1 << 18))
        except BlockingIOError:
            poll.poll()
        else:
            done += 1
    report(tasks / (time.perf_counter() - began))
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


def server_tasks(
    tasks: int,
    window: int,
    data: str,
    report: Report,
    *,
    task: Callable[..., str] = lambda *_: "ok",
    **settings: Any,
) -> None:
    """The same through a Server: from `task()` to its `finish`."""
    settings = {"worker_num": 1, "task_worker_num": 1, "log_level": "ERROR", **settings}
    made = Server("127.0.0.1", 0, **settings)
    made.on("receive", lambda *_: None)
    made.on("task", task)
    done = 0
    began = 0.0

    def begin(server: Server, worker_id: int) -> None:
        nonlocal began
        if worker_id == 0:
            began = time.perf_counter()
            for _ in range(window):
                server.task(data)

    def finish(server: Server, _task_id: int, _result: object) -> None:
        nonlocal done
        done += 1
        if done <= tasks - window:
            server.task(data)
        if done == tasks:
            report(tasks / (time.perf_counter() - began))
            server.shutdown()

    made.on("worker_start", begin)
    made.on("finish", finish)
    made.start()


# -- echo: one process that answers what comes ---


def bare_echo(ready: Ready, *, loop: Callable[..., Any] = uvloop.run) -> None:
    """A Protocol that writes back what came."""

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.write = transport.write  # type: ignore[attr-defined]

        def data_received(self, data: bytes) -> None:
            self.write(data)

    async def serve() -> None:
        running = asyncio.get_running_loop()
        made = await running.create_server(Echo, "127.0.0.1", 0, backlog=512)
        ready(made.sockets[0].getsockname()[1])
        await made.serve_forever()

    loop(serve())


def echo_server(ready: Ready, **settings: Any) -> None:
    """The same through a Server, callback and send included."""
    made = Server("127.0.0.1", 0, worker_num=1, log_level="ERROR", **settings)
    made.on("receive", lambda server, fd, _reactor_id, data: server.send(fd, data))
    made.on("start", lambda server: ready(server.port))
    made.start()


def served(serve: Callable[[Ready], None], measure: Callable[[int, int], float]) -> float:
    """Serve in a process of its own; return `measure(port, pid)`."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        serve(lambda port: os.write(writing, b"%d\n" % port))
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        port = int(pipe.readline())
    try:
        return measure(port, pid)
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def children(pid: int) -> list[int]:
    """Return the pids of a process's children, the first-born first."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
        return [int(word) for word in file.read().split()]


def worker_of(pid: int) -> int:
    """Return the process that serves: the first child, or itself."""
    return (children(pid) or [pid])[0]


def cpu_ns(pid: int) -> int:
    """Return the ns that a process (its main thread) was on a CPU."""
    with open(f"/proc/{pid}/schedstat", encoding="utf-8") as file:
        return int(file.read().split()[0])

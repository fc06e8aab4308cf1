"""TCP echo, 100 bytes, 50 connections, one worker: Server against a bare uvloop Protocol.

The client is one epoll loop in a process of its own, so the figures are no records; the ratio is
what counts.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from functools import partial

import uvloop

from bench.rounds import medians
from ipckit import Server

SECONDS, CONNECTIONS = 1.0, 50
REQUEST = b"x" * 98 + b"\r\n"


def bare(ready: Callable[[int], None]) -> None:
    """The floor: a Protocol that writes back what came."""

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.write = transport.write  # type: ignore[attr-defined]

        def data_received(self, data: bytes) -> None:
            self.write(data)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        made = await loop.create_server(Echo, "127.0.0.1", 0)
        ready(made.sockets[0].getsockname()[1])
        await made.serve_forever()

    uvloop.run(serve())


def through_server(ready: Callable[[int], None], **framing: object) -> None:
    """The same through a Server, callback and send included."""
    made = Server("127.0.0.1", 0, worker_num=1, log_level="ERROR", **framing)
    made.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))
    made.on("start", lambda server: ready(server.port))
    made.start()


def requests_per_second(port: int) -> float:
    """Ask over all connections, one request in flight on each."""
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    poll = select.epoll()
    for client in clients:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(client, select.EPOLLIN)
    by_fd = {client.fileno(): client for client in clients}
    for client in clients:
        client.send(REQUEST)
    answers = 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < SECONDS:
        for fd, _ in poll.poll(1):
            by_fd[fd].recv(65536)
            by_fd[fd].send(REQUEST)
            answers += 1
    poll.close()
    for client in clients:
        client.close()
    return answers / took


def measured(serve: Callable[[Callable[[int], None]], None]) -> float:
    """Serve in a process of its own, and measure from here."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        serve(lambda port: os.write(writing, b"%d\n" % port) and None)
        os._exit(0)
    with open(reading, "rb") as pipe:
        port = int(pipe.readline())
    os.close(writing)
    try:
        return requests_per_second(port)
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def main() -> dict[str, float]:
    """Measure, print, and return requests per second."""
    runs: dict[str, Callable[[Callable[[int], None]], None]] = {
        "bare uvloop": bare,
        "Server": through_server,
        "Server, EOF": lambda ready: through_server(ready, open_eof_split=True, package_eof="\r\n"),
    }
    found = medians({name: partial(measured, run) for name, run in runs.items()})
    for name, value in found.items():
        print(f"{name:12} {value:10,.0f}/s   {value / found['bare uvloop']:.2f} of bare uvloop")
    return found

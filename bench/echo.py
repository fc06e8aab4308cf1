"""TCP echo, 100 bytes, 50 connections, one worker: Server beside a bare uvloop Protocol.

The requests come from a small C program (loadgen.c), so that it is the server that is measured.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import uvloop

from bench.rounds import Row, medians, shown
from ipckit import Server

SECONDS, CONNECTIONS, BYTES = 1.0, 50, 100
Ready = Callable[[int], None]


def bare(ready: Ready) -> None:
    """The floor: a Protocol that writes back what came."""

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.write = transport.write  # type: ignore[attr-defined]

        def data_received(self, data: bytes) -> None:
            self.write(data)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        made = await loop.create_server(Echo, "127.0.0.1", 0, backlog=512)
        ready(made.sockets[0].getsockname()[1])
        await made.serve_forever()

    uvloop.run(serve())


def through_server(ready: Ready, **settings: object) -> None:
    """The same through a Server, callback and send included."""
    made = Server("127.0.0.1", 0, worker_num=1, log_level="ERROR", **settings)
    made.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))
    made.on("start", lambda server: ready(server.port))
    made.start()


def load_generator() -> str:
    """Build it; return its path."""
    program = Path("build/bench/loadgen")
    program.parent.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).with_name("loadgen.c")
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, source], check=True)
    return str(program)


def served(serve: Callable[[Ready], None], measure: Callable[[int, int], float]) -> float:
    """Serve in a process of its own, and return `measure(port, pid)`."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        serve(lambda port: os.write(writing, b"%d\n" % port) and None)
        os._exit(0)
    with open(reading, "rb") as pipe:
        port = int(pipe.readline())
    os.close(writing)
    try:
        return measure(port, pid)
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def main() -> list[Row]:
    """Measure and print."""
    program = load_generator()

    def per_second(port: int, pid: int, *, connections: int = CONNECTIONS, depth: int = 1) -> float:
        del pid
        wanted = [program, port, connections, BYTES, SECONDS, depth]
        return float(subprocess.check_output([str(word) for word in wanted]).split()[0])

    eof = partial(through_server, open_eof_split=True, package_eof="\r\n")
    deep = partial(per_second, depth=16)
    short = partial(per_second, connections=0)
    found = medians(
        {
            "bare": partial(served, bare, per_second),
            "server": partial(served, through_server, per_second),
            "eof": partial(served, eof, per_second),
            "bare, deep": partial(served, bare, deep),
            "server, deep": partial(served, through_server, deep),
            "bare, short": partial(served, bare, short),
            "server, short": partial(served, through_server, short),
        }
    )
    a_row = partial(Row, unit="/s", less=False)
    return shown(
        [
            a_row("echo, bare uvloop", found["server"], found["bare"], goal=0.95),
            a_row("echo, EOF split, bare uvloop", found["eof"], found["bare"], goal=0.9),
            a_row("echo, 16 in flight", found["server, deep"], found["bare, deep"], goal=0.95),
            a_row("connect, request, close", found["server, short"], found["bare, short"]),
        ]
    )

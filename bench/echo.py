"""TCP echo, 100 bytes, 50 connections, one worker: Server beside bare loops.

The requests come from a small C program (c/loadgen.c), so that it is the server that is measured.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import uvloop

from bench.programs import built
from ipckit.cli.bench.rounds import Rounds, Row
from ipckit.cli.bench.yardsticks import bare_echo, echo_server, served

SECONDS, CONNECTIONS, BYTES = 0.6, 50, 100
Ready = Callable[[int], Any]


def splitting_echo(ready: Ready) -> None:
    """A bare Protocol that splits lines, calls a function for each and writes the answers."""

    def receive(data: bytes) -> bytes:
        return data

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.write = transport.write  # type: ignore[attr-defined]
            self.rest = b""

        def data_received(self, data: bytes) -> None:
            *lines, self.rest = (self.rest + data).split(b"\r\n")
            self.write(b"".join([receive(line + b"\r\n") for line in lines]))

    async def serve() -> None:
        made = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=512)
        ready(made.sockets[0].getsockname()[1])
        await made.serve_forever()

    uvloop.run(serve())


def per_second(
    port: int, _pid: int, *, connections: int = CONNECTIONS, depth: int = 1, size: int = BYTES
) -> float:
    """Return requests per second."""
    wanted = [built("loadgen"), port, connections, size, SECONDS, depth]
    return float(subprocess.check_output([str(word) for word in wanted]).split()[0])


def main() -> Iterator[Row]:
    """Measure."""
    eof = partial(echo_server, open_eof_split=True, package_eof="\r\n")
    servers = {
        "a bare uvloop Protocol": bare_echo,
        "ours": echo_server,
        "ours, EOF": eof,
        "stdlib asyncio": partial(bare_echo, loop=asyncio.run),
    }
    single = Rounds({name: partial(served, serve, per_second) for name, serve in servers.items()})
    bare = "a bare uvloop Protocol"
    yield single.row("echo, 1 in flight", "ours", bare, "/s", 0.95, less=False)
    yield single.row("echo, 1 in flight, EOF split", "ours, EOF", bare, "/s", 0.9, less=False)
    yield single.row("echo, 1 in flight", "ours", "stdlib asyncio", "/s", less=False)
    servers = {
        bare: bare_echo,
        "ours": echo_server,
        "a bare Protocol that splits": splitting_echo,
        "ours, EOF": eof,
    }
    many = partial(per_second, depth=16)
    deep = Rounds({name: partial(served, serve, many) for name, serve in servers.items()})
    yield deep.row("echo, 16 in flight", "ours", bare, "/s", 0.95, less=False)
    what = "echo, 16 in flight, EOF split"
    yield deep.row(what, "ours, EOF", "a bare Protocol that splits", "/s", less=False)
    once = partial(per_second, connections=0)
    servers = {bare: bare_echo, "ours": echo_server}
    short = Rounds({name: partial(served, serve, once) for name, serve in servers.items()})
    yield short.row("connect, request, close", "ours", bare, "/s", less=False)

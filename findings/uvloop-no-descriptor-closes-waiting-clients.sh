#!/usr/bin/env bash
# Behaviour: a server on uvloop that has no free descriptor accepts the clients that wait and closes
#            them silently: no exception, no call of the exception handler, no log line. asyncio
#            leaves them in the backlog, calls the exception handler, and serves them once it can.
# Seen:      uvloop 0.23.0, Python 3.11.7: the client reads an end of file, 0 reports; asyncio: the
#            client waits, 1 report or more.
# Source:    libuv/src/unix/stream.c, uv__emfile_trick(); asyncio/selector_events.py, _accept_connection.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q uvloop==0.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import os
import resource
import socket
import sys

import uvloop

print("Python", sys.version.split()[0], "uvloop", uvloop.__version__)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)


async def serve() -> tuple[str, int]:
    loop = asyncio.get_running_loop()
    reports: list[object] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    first = socket.create_connection(address)  # what a loop opens once is open then
    await asyncio.sleep(0.2)
    client = socket.socket()
    client.setblocking(False)
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        await loop.sock_connect(client, address)
        try:
            got = await asyncio.wait_for(loop.sock_recv(client, 1), 2)
            outcome = "closed" if got == b"" else "answered"
        except TimeoutError:
            outcome = "waits"
        except ConnectionError:
            outcome = "closed"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    server.close()
    client.close()
    first.close()
    return outcome, len(reports)


plain, plain_reports = asyncio.run(serve())
other, other_reports = uvloop.run(serve())
print(f"no free descriptor: asyncio: the client {plain}, {plain_reports} reports")
print(f"no free descriptor: uvloop: the client {other}, {other_reports} reports")
assert (plain, other) == ("waits", "closed")
assert plain_reports > 0 == other_reports
PYTHON

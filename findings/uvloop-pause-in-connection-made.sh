#!/usr/bin/env bash
# Behaviour: a protocol that calls transport.pause_reading() in connection_made() still gets data
#            on uvloop: the transport begins to read after connection_made(), whatever was requested
#            before. asyncio keeps the pause since Python 3.8 (python/cpython issue 76002).
# Seen:      uvloop 0.23.0, Python 3.11.7: 1000 bytes while paused; asyncio: 0.
# Source:    uvloop/handles/stream.pyx, _init_protocol and _start_reading.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q uvloop==0.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import socket
import sys

import uvloop

print("Python", sys.version.split()[0], "uvloop", uvloop.__version__)
got = {}


async def serve(name: str) -> None:
    lost = asyncio.get_running_loop().create_future()
    got[name] = 0

    class Paused(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport.pause_reading()
            asyncio.get_running_loop().call_later(0.5, transport.abort)

        def data_received(self, data: bytes) -> None:
            got[name] += len(data)

        def connection_lost(self, exc: Exception | None) -> None:
            lost.set_result(None)

    server = await asyncio.get_running_loop().create_server(Paused, "127.0.0.1", 0)
    client = socket.create_connection(server.sockets[0].getsockname())
    client.sendall(bytes(1000))
    await lost
    client.close()
    server.close()


asyncio.run(serve("asyncio"))
uvloop.run(serve("uvloop"))
print("bytes received while paused:", got)
assert got == {"asyncio": 0, "uvloop": 1000}
PYTHON

#!/usr/bin/env bash
# Behaviour: while the listen queue of a Unix socket is full, asyncio.open_unix_connection() returns as
#            if it had connected. The socket has no peer: reading after a write raises ENOTCONN, and
#            the server never sees it. A blocking connect() waits, and uvloop raises BlockingIOError.
# Seen:      CPython 3.11.7, 3.12.1, 3.13.0; uvloop 0.23.0; Linux 6.18.44.
# Source:    connect(2): EAGAIN of a Unix socket is not EINPROGRESS, nothing is under way.
#            cpython/Lib/asyncio/selector_events.py, _sock_connect(), waits until the socket is
#            writable, which it is, and reads SO_ERROR, which is 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q uvloop==0.23.0
python3 --version
uname -sr
timeout 60 "$folder/venv/bin/python" - "$folder/socket" <<'PYTHON'
import asyncio
import socket
import sys

import uvloop

path = sys.argv[1]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(0)
client = socket.socket(socket.AF_UNIX)
client.connect(path)  # the one for which there is room


async def connect():
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as exc:
        return f"raises {type(exc).__name__}"
    try:
        writer.get_extra_info("socket").getpeername()
    except OSError as exc:
        told = f"returns; getpeername: {exc.strerror}"
    else:
        return "connected"
    writer.write(b"hello")
    try:
        await reader.read()
    except OSError as exc:
        return f"{told}; read: {exc.strerror}"
    return told


by_asyncio = asyncio.run(connect())
by_uvloop = uvloop.run(connect())
print(f"asyncio {by_asyncio}\nuvloop {by_uvloop}")
unconnected = "Transport endpoint is not connected"
assert by_asyncio == f"returns; getpeername: {unconnected}; read: {unconnected}"
assert by_uvloop == "raises BlockingIOError"
PYTHON

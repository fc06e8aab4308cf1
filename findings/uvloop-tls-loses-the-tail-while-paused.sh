#!/usr/bin/env bash
# Behaviour: a TLS server on uvloop whose protocol pauses reading between packets (each async
#            handler with back pressure does) loses the last data of an upload when the client sends
#            close_notify and closes: connection_lost() comes before the data that was received and
#            not yet handed out. asyncio hands it out.
# Seen:      uvloop 0.23.0, Python 3.11.7: some 1,840,000 of 2,048,000 bytes; asyncio: all.
# Source:    uvloop/sslproto.pyx; MagicStack/uvloop pull request 661 (open) describes it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q uvloop==0.23.0
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$folder/key.pem" -out "$folder/cert.pem" \
  -days 2 -subj /CN=localhost 2>/dev/null
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio
import socket
import ssl
import sys

import uvloop

print("Python", sys.version.split()[0], "uvloop", uvloop.__version__, ssl.OPENSSL_VERSION)
UPLOAD = 500 * 4096
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.num_tickets = 0
context.load_cert_chain(f"{sys.argv[1]}/cert.pem", f"{sys.argv[1]}/key.pem")


def upload(port: int) -> None:
    trusting = ssl.create_default_context(cafile=f"{sys.argv[1]}/cert.pem")
    client = trusting.wrap_socket(
        socket.create_connection(("127.0.0.1", port)), server_hostname="localhost"
    )
    client.sendall(bytes(UPLOAD))
    client.setblocking(False)
    try:
        client.unwrap()
    except ssl.SSLWantReadError:
        pass  # close_notify is sent
    raw = socket.socket(fileno=client.detach())
    raw.shutdown(socket.SHUT_WR)
    raw.settimeout(20)
    try:
        while raw.recv(999):
            pass
    except ConnectionError:
        pass
    raw.close()


async def serve() -> int:
    loop = asyncio.get_running_loop()
    lost = loop.create_future()

    class Slow(asyncio.Protocol):
        got = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.got += len(data)
            self.transport.pause_reading()
            loop.call_later(0.002, self.resume)

        def resume(self) -> None:
            if not self.transport.is_closing():
                self.transport.resume_reading()

        def connection_lost(self, exc: Exception | None) -> None:
            lost.set_result(self.got)

    server = await loop.create_server(Slow, "127.0.0.1", 0, ssl=context)
    sending = asyncio.create_task(asyncio.to_thread(upload, server.sockets[0].getsockname()[1]))
    got = await lost
    await sending
    server.close()
    return got


plain = asyncio.run(serve())
with_uvloop = uvloop.run(serve())
print(f"sent {UPLOAD}, received: asyncio {plain}, uvloop {with_uvloop}")
assert plain == UPLOAD > with_uvloop
PYTHON

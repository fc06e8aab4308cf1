"""How a client's socket ends and what it knows by then, and a worker that can be asked about it."""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import termios

__all__ = ["GATED", "LINES", "acknowledged", "ask", "reset"]

LINES = 'open_eof_split=True, package_eof="\\n"'

# One worker: what one client says opens the gate for another one's callback.
GATED = """
import json, select, time
gate = asyncio.Event()
closed = []

@server.on("close")
def close(server, fd, reactor_id):
    closed.append(fd)

async def until_gone(server, fd):
    '''Send until it is said that nobody is there.'''
    while server.send(fd, b"part\\n"):
        await asyncio.sleep(0.001)

@server.on("receive")
async def receive(server, fd, reactor_id, data):
    word, _, rest = data.decode().strip().partition(" ")
    if word == "go":
        gate.set()
    elif word == "tell":
        scope = dict(globals(), server=server, fd=fd)
        server.send(fd, (json.dumps(eval(rest, scope)) + "\\n").encode())
    else:
        await gate.wait()
        await globals()[word](server, fd, rest)
"""


def reset(sock: socket.socket) -> None:
    """Close it by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def acknowledged(sock: socket.socket) -> bool:
    """Whether the other kernel has all that was sent: tcp(7) SIOCOUTQ."""
    unsent = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
    return struct.unpack("i", unsent)[0] == 0


def ask(sock: socket.socket, expression: str):
    """Return the value of an expression in a worker that has GATED callbacks."""
    sock.sendall(b"tell " + expression.encode() + b"\n")
    got = b""
    while not got.endswith(b"\n"):
        part = sock.recv(65536)
        assert part, "the server closed the connection"
        got += part
    return json.loads(got)

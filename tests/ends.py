"""How a client's socket ends, and what it knows by then."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios

__all__ = ["acknowledged", "reset"]


def reset(sock: socket.socket) -> None:
    """Close it by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def acknowledged(sock: socket.socket) -> bool:
    """Whether the other kernel has all that was sent: tcp(7) SIOCOUTQ."""
    unsent = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
    return struct.unpack("i", unsent)[0] == 0

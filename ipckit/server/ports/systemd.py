"""systemd: sockets that it hands over, and notices to it.

Contract  without systemd's environment variables nothing here does anything.
Source    sd_listen_fds(3), sd_notify(3).
Blocks    never.  Errors  none: a notice that nothing reads is no failure.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

__all__ = ["inherited_socket", "notify"]

_FIRST = 3  # SD_LISTEN_FDS_START


def inherited_socket(
    family: int, kind: int, address: str | tuple[str, int]
) -> socket.socket | None:
    """Return the socket that systemd bound to this address for us; None: there is none."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.get("LISTEN_FDS", "")
    for fd in range(_FIRST, _FIRST + (int(count) if count.isdecimal() else 0)):
        try:
            sock = socket.socket(fileno=os.dup(fd))
        except OSError:
            continue  # a pipe, a file: not for us
        bound = sock.getsockname()
        here = bound if isinstance(bound, str | bytes) else bound[:2]
        if (sock.family, sock.type, here) == (family, kind, address):
            os.set_inheritable(sock.fileno(), False)
            return sock
        sock.close()
    return None


def notify(state: str, **more: object) -> None:
    """Tell systemd: READY, RELOADING or STOPPING; with what else it wants to know."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if where[:1] not in ("/", "@"):
        return
    lines = [f"{state}=1", *(f"{name}={value}" for name, value in more.items())]
    if state == "RELOADING":
        lines.append(f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    address = "\0" + where[1:] if where[0] == "@" else where
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
        contextlib.suppress(OSError),
    ):
        sock.sendto("\n".join(lines).encode("utf-8", "backslashreplace"), address)

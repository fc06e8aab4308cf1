"""What a server knows of its clients, and of the files it sends them; from any of its processes.

Stands on ipckit.server.shared.sessions, ipckit.server.ports.port.  Blocks  never.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Sequence
from typing import Any

from ipckit.errors import from_errno
from ipckit.kinds import SockType
from ipckit.server.ports.port import OpenPort
from ipckit.server.shared.sessions import Flag, Sessions

__all__ = ["checked_part", "described", "idle", "info"]


def info(sessions: Sessions, ports: Sequence[OpenPort], session: int) -> dict[str, Any] | None:
    """Return what is known of a client; None: no such session."""
    known = sessions.describe(session)
    return None if known is None else described(ports, known)


def described(ports: Sequence[OpenPort], known: dict[str, Any]) -> dict[str, Any]:
    """Return what Sessions.describe() says, in the words of get_client_info()."""
    known = dict(known)
    port = ports[known.pop("port")]
    return {
        "server_port": port.port,
        "socket_type": port.sock_type,
        "remote_ip": _text(known.pop("ip"), port.sock_type),
        "remote_port": known.pop("remote_port"),
        "reactor_id": known["worker_id"],
        **known,
    }


def _text(ip: bytes, kind: SockType) -> str:
    if kind == SockType.TCP:
        return socket.inet_ntop(socket.AF_INET, ip[:4])
    return socket.inet_ntop(socket.AF_INET6, ip) if kind == SockType.TCP6 else ""


def idle(sessions: Sessions, ports: Sequence[OpenPort], now: float) -> list[int]:
    """Return the sessions that were silent for longer than their port allows; now: monotonic."""
    found = []
    for session in sessions.all():
        port = ports[sessions.port_of(session)]
        limit = port.settings.heartbeat_idle_time
        late = limit and now - sessions.idle_since(session) >= limit
        spared = sessions.flags(session) & Flag.PROTECTED
        if late and not spared and sessions.owner_of(session) >= 0:
            found.append(session)
    return found


def checked_part(path: str | os.PathLike[str], offset: int, length: int) -> tuple[str, int, int]:
    """Return the arguments of sendfile() for any process; NotFound, AccessDenied, ValueError."""
    for name, value in (("offset", offset), ("length", length)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name}={value!r}: must be an int of 0 or more")
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path={path!r}: must be a str or os.PathLike")
    whole = os.path.abspath(os.fspath(path))
    try:
        fd = os.open(whole, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would hold us up
    except OSError as exc:
        raise from_errno(
            "open",
            exc.errno or errno.EIO,
            f"sendfile: {whole}; name a file that this user may read",
        ) from None
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"path={whole!r}: must be a plain file, no folder and no device")
    if offset + max(length, 1) > found.st_size:
        raise ValueError(
            f"offset={offset} and length={length}: {whole} has {found.st_size} bytes, and at least "
            f"one must be sent"
        )
    return whole, offset, length

"""What Channel's callers may pass: each wrong argument is refused before anything is done (C6)."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence
from typing import Any

from ipckit.channel.frames import MAX_SIZE
from ipckit.errors import MisuseError

__all__ = [
    "as_bytes",
    "check_max_frame",
    "descriptors",
    "not_idle",
    "socket_of",
    "writable",
]


def check_max_frame(max_frame: int) -> None:
    """Refuse what cannot be the most bytes of a body: TypeError, ValueError."""
    if not isinstance(max_frame, int):
        raise TypeError(f"max_frame={max_frame!r}: must be an int of 0..{MAX_SIZE} bytes")
    if not 0 <= max_frame <= MAX_SIZE:
        raise ValueError(f"max_frame={max_frame!r}: must be 0..{MAX_SIZE} bytes")


def as_bytes(body: object) -> memoryview:
    """Return the bytes of a body, or raise TypeError."""
    try:
        view = memoryview(body)  # type: ignore[arg-type]  # whatever a caller gives
    except TypeError:
        name = type(body).__name__
        raise TypeError(f"body must be bytes, not {name}: encode it first") from None
    if not view.c_contiguous:
        raise TypeError("body is not contiguous: send a copy, bytes(body)")
    try:
        return view.cast("B")
    except (TypeError, NotImplementedError):
        raise TypeError(f"body has items of format {view.format!r}: send bytes(body)") from None


def writable(into: Any) -> memoryview:
    """Return the bytes of a buffer that may be written, or raise TypeError."""
    try:
        view = memoryview(into)
        if not view.readonly and view.c_contiguous:
            return view.cast("B")
    except (TypeError, NotImplementedError):
        pass
    raise TypeError(
        f"into={into!r:.100}: must be a writable buffer whose bytes lie beside each other, "
        f"such as a bytearray"
    )


def descriptors(fds: Sequence[int]) -> array.array[int]:
    """Return descriptors as sendmsg() takes them, or raise TypeError."""
    try:
        return array.array("i", fds)
    except (TypeError, OverflowError):
        raise TypeError(f"fds={fds!r}: must be a sequence of open descriptors, ints") from None


def socket_of(fd: int) -> socket.socket:
    """Return the socket of a descriptor that was sent; MisuseError for another one, closed."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        raise MisuseError(f"the descriptor {fd} that was sent is no socket") from None
    if (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        sock.close()
        raise MisuseError(f"the descriptor {fd} that was sent is no AF_UNIX stream socket")
    return sock


def not_idle(why: str) -> MisuseError:
    """Return the error of pickling an end that is not between two frames."""
    return MisuseError(
        f"this end of a channel is {why}, and cannot go to another process: send or receive the "
        f"whole frame first, or make a new pair"
    )

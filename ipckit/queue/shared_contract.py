"""What a shared queue refuses, in words, and its deadlines.

The C half (python/shared_queue/) calls these by name, so that each text is written once.
Stands on ipckit.errors, ipckit._timeouts.  Pure, except for the clock.
"""

from __future__ import annotations

import errno
import time

from ipckit._timeouts import deadline_of
from ipckit.errors import MessageTooLarge, MisuseError, QueueEmpty, QueueFull, WaitTimeout

__all__ = [
    "BYTES",
    "INLINE",
    "MAX_BYTES",
    "MAX_MESSAGES",
    "PAGE",
    "PICKLES",
    "PLAIN",
    "age_of",
    "as_buffer",
    "closed",
    "deadline_ns",
    "due_ns",
    "empty",
    "full",
    "no_turn",
    "not_finished",
    "not_made",
    "too_large",
]

PAGE = 4096
"""Bytes: long bodies have whole pages."""
INLINE = 192
"""Bytes: a body that is not longer needs no page."""
MAX_MESSAGES = 2**23
MAX_BYTES = (2**31 - 1) * PAGE
BYTES, PICKLES, PLAIN = 0, 1, 2
"""What the bodies of a queue are, as its segment says."""
_CENTURY = 100 * 365 * 86400.0


def deadline_ns(timeout: float | None) -> int:
    """Return a time limit as a moment of CLOCK_MONOTONIC in ns; 0: none; 1: one try."""
    deadline_of(timeout)  # TypeError, ValueError
    if timeout is None or timeout > _CENTURY:
        return 0
    return time.monotonic_ns() + int(timeout * 1e9) if timeout else 1


def due_ns(delay: float) -> int:
    """Return when a delay is over, in ns of CLOCK_MONOTONIC; 0: now."""
    if isinstance(delay, bool) or not isinstance(delay, int | float):
        raise TypeError(f"delay={delay!r}: must be seconds")
    if not 0 <= delay <= _CENTURY:
        raise ValueError(f"delay={delay!r}: must be 0..{_CENTURY:.0f} seconds")
    return time.monotonic_ns() + int(delay * 1e9) if delay else 0


def age_of(sent_ns: int) -> float:
    """Return how many seconds ago a message was sent."""
    return max(0.0, (time.monotonic_ns() - sent_ns) / 1e9)


def as_buffer(body: object) -> memoryview:
    """Return the bytes of a body; without a copy, if they lie beside each other. TypeError."""
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"body must be bytes, bytearray or memoryview, not {type(body).__name__}")
    try:
        return memoryview(body).cast("B")
    except (TypeError, ValueError):  # every second byte, none at all, or of a foreign format
        return memoryview(bytes(body))


def full(size: int, messages: int, pages: int) -> QueueFull:
    return QueueFull(
        errno.EAGAIN,
        f"send: no room for {size} bytes; the queue holds {messages} messages and"
        f" {pages * PAGE} bytes of long bodies: receive some, or wait longer",
    )


def no_turn() -> QueueFull:
    return QueueFull(errno.EAGAIN, "send: others of this loop waited before; wait longer")


def empty() -> QueueEmpty:
    return QueueEmpty(
        errno.EAGAIN, "receive: no message in the queue: send one first, or wait longer"
    )


def not_finished() -> WaitTimeout:
    return WaitTimeout(
        "join: not all objects were finished in that time: each get() needs a task_done()"
    )


def too_large(size: int, pages: int) -> MessageTooLarge:
    return MessageTooLarge(
        errno.EMSGSIZE,
        f"send: a body of {size} bytes, max_bytes is {pages * PAGE}; make the queue larger",
    )


def closed() -> MisuseError:
    return MisuseError("this queue object is closed; open() the queue again")


def not_made() -> MisuseError:
    return MisuseError("the queue was not made: __init__() was not called")

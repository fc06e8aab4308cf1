"""What SysvQueue asks of the C core, and how its answers become exceptions.

Kernel    msgrcv(2), msgctl(2); limits in /proc/sys/kernel/msg*.
Stands on ipckit._core (queues/sysv), ipckit.errors, ipckit._timeouts, ipckit.queue.contract.
Used by   ipckit.queue.sysv; the server uses copy_message() to look without taking.
"""

# ruff: noqa: A002  (`type` is the kernel's word and the API's)

from __future__ import annotations

import errno
from typing import Any

from ipckit._core import check, ffi, lib
from ipckit._timeouts import time_left
from ipckit.errors import IPCError, MessageTooLarge, MisuseError, from_errno
from ipckit.queue.contract import Message, check_number

__all__ = [
    "SMALL",
    "Buffer",
    "about_make",
    "buffer",
    "check_key",
    "closed",
    "copy_message",
    "limit",
    "not_received",
    "not_sent",
    "stat_of",
    "wait_ns",
]

SMALL: int = lib.IPK_MSGQ_SMALL
"""Bytes of the buffers that are kept: the kernel's msgmax unless somebody raised it."""

Buffer = tuple[Any, Any]
"""A struct ipk_message *, and its body as char *."""

_FULL = "receive some, or wait longer"
_REMOVED = "the queue was removed; open() or create() it again"
_LONGEST = 10**9  # seconds; 31 years is for ever, and fits into 63 bits of nanoseconds


def stat_of(queue_id: int) -> Any:
    """Return the struct ipk_msgq_stat * of a queue. Raises QueueRemoved, AccessDenied."""
    stat = ffi.new("struct ipk_msgq_stat *")
    check(lib.ipk_msgq_stat(queue_id, stat), "msgctl", _REMOVED)
    return stat


def copy_message(queue_id: int, index: int) -> Message | None:
    """Return a copy of the message at position `index` (0 the oldest), which stays there.

    None when there is none, or when the kernel cannot do it (no CONFIG_CHECKPOINT_RESTORE).
    Others may receive between two calls, so the next index may not be the next message.
    Raises QueueRemoved, AccessDenied. Blocks: never. Source: msgrcv(2) MSG_COPY.
    """
    size = SMALL
    while True:
        message, room = buffer(size)
        got = lib.ipk_msgq_copy(queue_id, message, size, index)
        if got >= 0:
            return Message(message.type, ffi.unpack(room, got))
        if got in {-errno.ENOMSG, -errno.ENOSYS}:
            return None
        if got not in {-errno.E2BIG, -errno.EINTR}:
            raise from_errno("msgrcv", -got, f"copy of message {index} of queue id {queue_id}")
        if got == -errno.E2BIG:
            size *= 2


def buffer(size: int) -> Buffer:
    """Return memory for a message with a body of `size` bytes."""
    message = ffi.new("struct ipk_message *", [0, size])
    return message, message.body


def wait_ns(deadline: float | None) -> int:
    """Return the time until `deadline` as the core wants it: -1 for ever, 0 now."""
    left = time_left(deadline)
    return -1 if left is None else int(min(left, _LONGEST) * 1e9)


def closed() -> MisuseError:
    """Return the exception for a queue object after its close()."""
    return MisuseError("this queue object is closed; open() the queue again")


def check_key(key: int | None) -> None:
    """Refuse what cannot be a key (Q9)."""
    if key is None:
        return
    check_number("key", key, -(2**31), 2**31 - 1)
    if key == 0:
        raise ValueError("key=0: means private to the kernel; use create() without a key")


def about_make(key: int | None, error: int) -> str:
    """Say what was asked of msgget(), and what to do about its error."""
    what = "a private queue" if key is None else f"key {key}"
    if error == errno.ENOSPC:
        return (
            f"{what}; this kernel has its {limit('msgmni')} queues: remove some that nobody uses "
            f"(ipcs -q shows them), or raise kernel.msgmni (sysctl)"
        )
    return what if key is None else f"{what}; open() takes an existing one"


def limit(name: str) -> str:
    """Return the number in /proc/sys/kernel, for a text."""
    try:
        with open(f"/proc/sys/kernel/{name}") as file:
            return file.read().strip()
    except OSError:
        return "unknown"


def not_sent(queue_id: int, code: int, size: int) -> IPCError:
    """Return the exception for msgsnd() of `size` bytes having failed."""
    if code == -errno.EBADF:
        return closed()
    detail = f"{size} bytes"
    if code == -errno.ENOBUFS:
        return _no_timer("msgsnd")
    if code == -errno.EMSGSIZE:
        return MessageTooLarge(
            errno.EMSGSIZE,
            f"msgsnd: {size} bytes in one message, this kernel's limit msgmax is "
            f"{lib.ipk_msgq_max_size()}: send less, or raise kernel.msgmax (sysctl)",
        )
    if code == -errno.EAGAIN:
        try:
            stat = stat_of(queue_id)
        except IPCError:  # no right to read: then without numbers
            return from_errno("msgsnd", errno.EAGAIN, f"{size} bytes do not fit now; {_FULL}")
        if size > stat.max_bytes:
            return MessageTooLarge(
                errno.EMSGSIZE,
                f"msgsnd: {size} bytes in one message, this queue's max_bytes is "
                f"{stat.max_bytes}: send less, or set(max_bytes=...)",
            )
        detail = (
            f"{size} bytes do not fit beside the {stat.bytes} bytes of {stat.messages} "
            f"messages waiting, max_bytes is {stat.max_bytes}; {_FULL}"
        )
    if code == -errno.EIDRM:
        detail = _REMOVED
    return from_errno("msgsnd", -code, detail)


def not_received(code: int, type: int, max_size: int | None) -> IPCError:
    """Return the exception for msgrcv() having failed."""
    if code == -errno.EBADF:
        return closed()
    if code == -errno.ENOBUFS:
        return _no_timer("msgrcv")
    detail = f"type={type}"
    if code == -errno.E2BIG:
        detail = (
            f"the message is longer than max_size={max_size} and stays: "
            "receive with a larger max_size, or with truncate=True"
        )
    elif code == -errno.ENOMSG:
        detail = f"no message for type={type} came in time; send one first, or wait longer"
    elif code == -errno.EIDRM:
        detail = _REMOVED
    return from_errno("msgrcv", -code, detail)


def _no_timer(call: str) -> IPCError:
    return from_errno("timer_create", errno.EAGAIN, f"the time limit of {call}; nothing was done")

"""POSIX queues by the C core: what PosixQueue needs where there is no wheel of posix_ipc.

Kernel    mq_open(3), mq_getattr(3), mq_send(3), mq_receive(3), mq_unlink(3).
Stands on ipckit._core (queues/posix).
Errors    OSError with the errno of the call, as posix_package has them.
Blocks    never.
"""

from __future__ import annotations

import os
from typing import Any

from ipckit._core import ffi, lib

__all__ = ["MessageQueue", "find", "make", "unlink"]


class MessageQueue:
    """An open queue; its descriptor never blocks. It stays open until close()."""

    __slots__ = ("max_message_size", "max_messages", "mqd", "name")

    def __init__(self, name: str, mqd: int) -> None:
        """Take over the descriptor."""
        self.name = name
        self.mqd = mqd
        attributes = self._attributes()
        self.max_messages = int(attributes.max_messages)
        self.max_message_size = int(attributes.max_message_size)

    @property
    def current_messages(self) -> int:
        """How many messages wait now."""
        return int(self._attributes().messages)

    def send(self, body: bytes, priority: int) -> None:
        """Send now. OSError: EAGAIN (no room), EMSGSIZE."""
        _checked(lib.ipk_mq_send(self.mqd, body, len(body), priority))

    def receive(self) -> tuple[bytes, int]:
        """Take the next message and its priority now. OSError: EAGAIN (there is none)."""
        room = ffi.new("char []", self.max_message_size)
        priority = ffi.new("int *")
        size = _checked(lib.ipk_mq_receive(self.mqd, room, self.max_message_size, priority))
        return ffi.unpack(room, size), int(priority[0])

    def close(self) -> None:
        """Close the descriptor; later calls are EBADF."""
        mqd, self.mqd = self.mqd, -1
        _checked(lib.ipk_mq_close(mqd))

    def _attributes(self) -> Any:
        found = ffi.new("struct ipk_mq_attributes *")
        _checked(lib.ipk_mq_attributes(self.mqd, found))
        return found


def make(name: str, mode: int, max_messages: int, max_message_size: int) -> MessageQueue:
    """Make a queue that did not exist.

    OSError: EEXIST, EACCES, EINVAL (over a limit), ENOSPC (queues_max), EMFILE (`ulimit -q`, `-n`).
    """
    made = lib.ipk_mq_make(os.fsencode(name), mode, max_messages, max_message_size)
    return _open(name, made)


def find(name: str, *, writable: bool = True) -> MessageQueue:
    """Open an existing queue. OSError: ENOENT, EACCES, EMFILE, ENFILE."""
    return _open(name, lib.ipk_mq_find(os.fsencode(name), writable))


def unlink(name: str) -> None:
    """Take a name away. OSError: ENOENT, EACCES."""
    _checked(lib.ipk_mq_unlink(os.fsencode(name)))


def _open(name: str, descriptor: int) -> MessageQueue:
    _checked(descriptor)
    try:
        return MessageQueue(name, descriptor)
    except BaseException:
        lib.ipk_mq_close(descriptor)
        raise


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return int(result)

"""POSIX queues by the package posix_ipc: what PosixQueue needs where that is installed.

Kernel    mq_open(3), mq_getattr(3), mq_send(3), mq_receive(3), mq_unlink(3).
Stands on the package posix_ipc.
Errors    OSError with the errno of the call, as posix_core has them.
Blocks    never: the descriptor is made non-blocking before it is used.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import posix_ipc

__all__ = ["MessageQueue", "find", "make", "unlink"]


class MessageQueue:
    """An open queue; its descriptor never blocks. It stays open until close()."""

    __slots__ = ("_queue", "max_message_size", "max_messages", "mqd", "name")

    def __init__(self, queue: Any) -> None:
        """Take over the queue of posix_ipc."""
        queue.block = False
        self._queue = queue
        self.name: str = queue.name
        self.mqd: int = queue.mqd
        self.max_messages: int = queue.max_messages
        self.max_message_size: int = queue.max_message_size

    @property
    def current_messages(self) -> int:
        """How many messages wait now."""
        return int(_told(lambda: self._queue.current_messages))

    def send(self, body: bytes, priority: int) -> None:
        """Send now. OSError: EAGAIN (no room), EMSGSIZE."""
        _told(lambda: self._queue.send(body, None, priority), value=errno.EMSGSIZE)

    def receive(self) -> tuple[bytes, int]:
        """Take the next message and its priority now. OSError: EAGAIN (there is none)."""
        body, priority = _told(self._queue.receive)
        return body, priority

    def close(self) -> None:
        """Close the descriptor."""
        self._queue.close()


def make(name: str, mode: int, max_messages: int, max_message_size: int) -> MessageQueue:
    """Make a queue that did not exist.

    OSError: EEXIST, EACCES, EINVAL (over a limit), ENOSPC (queues_max), EMFILE (`ulimit -q`, `-n`).
    """
    sizes = (max_messages, max_message_size)
    made = _told(
        lambda: posix_ipc.MessageQueue(name, posix_ipc.O_CREX, mode, *sizes),
        existential=errno.EEXIST,
    )
    return MessageQueue(made)


def find(name: str, *, writable: bool = True) -> MessageQueue:
    """Open an existing queue. OSError: ENOENT, EACCES, EMFILE, ENFILE."""
    return MessageQueue(_told(lambda: posix_ipc.MessageQueue(name, write=writable)))


def unlink(name: str) -> None:
    """Take a name away. OSError: ENOENT, EACCES."""
    _told(lambda: posix_ipc.unlink_message_queue(name))


def _told(
    call: Callable[[], Any], *, existential: int = errno.ENOENT, value: int = errno.EINVAL
) -> Any:
    """Return what posix_ipc returns; its own exceptions become OSError with the errno they mean.

    `existential`, `value`: what ExistentialError and ValueError mean for this call.
    """
    try:
        return call()
    except posix_ipc.ExistentialError:
        number = existential
    except posix_ipc.PermissionsError:
        number = errno.EACCES
    except posix_ipc.BusyError:
        number = errno.EAGAIN
    except ValueError:
        number = value
    except OSError as exc:
        number = exc.errno or _missing_errno(str(exc))
    raise OSError(number, os.strerror(number))


def _missing_errno(text: str) -> int:
    """Return the errno that posix_ipc keeps to itself when it has a text of its own."""
    if text.startswith("Insufficient space"):
        return errno.ENOSPC
    return errno.ENFILE if text.startswith("The system limit") else errno.EMFILE

"""Wait at a System V queue with a descriptor, without taking anything.

A System V queue has no descriptor, so no event loop can wait for it. A relay has a thread of the
C core that waits there and writes an eventfd; the message stays for whoever takes it then.

Kernel    msgrcv(2) for 0 bytes without MSG_NOERROR: E2BIG says that a message is there, and leaves
          it. Only a message without a body cannot be left: it is taken, and told by its type.
Stands on ipckit._core (queues/relay), ipckit.errors.
"""

# ruff: noqa: A002  (`type` is the kernel's word and the API's)

from __future__ import annotations

import enum
import os
import weakref
from typing import Any, NamedTuple

from ipckit._core import check, ffi, lib
from ipckit.errors import MisuseError, system_call
from ipckit.queue.contract import check_choice

__all__ = ["QueueRelay", "Seen", "Wakeup"]


class Seen(enum.IntEnum):
    """What a relay met at its queue."""

    NOTHING = 0
    """Nothing since the last time; a descriptor may be readable once too often."""
    MESSAGE = 1
    """A fitting message is there; another process may be faster in taking it."""
    EMPTY = 2
    """A fitting message without a body: it was taken, and is the caller's now."""
    GONE = 3
    """The queue was removed, or may no longer be read; arming again will say the same."""


class Wakeup(NamedTuple):
    """What `collect()` tells; `type` is that of an EMPTY message, else 0."""

    seen: Seen
    type: int = 0


class QueueRelay:
    """One waiter at one queue, for messages of one choice, usable from select() and event loops.

    Level-triggered by the queue: a message that is there when armed makes it readable immediately.
    Armed once, it waits until it has seen one thing; then `collect()`, take, and `arm()` again.

    Process safe: each process makes its own. Not thread safe: one thread at a time.
    Fork: the child has no thread; there arm, disarm and collect raise MisuseError, close() closes
    the child's copy of the descriptor.
    Crash: nothing is lost, but an EMPTY message taken and not yet collected.
    """

    def __init__(self, queue_id: int, *, type: int = 0, exclude: bool = False) -> None:
        """Start a resting waiter for the queue with the id `queue_id`.

        Args:
            queue_id: as `SysvQueue.id`; whether it exists is seen when armed.
            type: 0 any, n > 0 that one, -n the lowest type <= n.
            exclude: any type but `type`, which is then 1 or more.

        Raises:
            SystemCallError: there is no thread or no descriptor left. TypeError, ValueError.
        """
        check_choice(type, exclude, None)
        self._relay = ffi.new("struct ipk_relay *")
        self._type_seen = ffi.new("int64_t *")
        with system_call("eventfd", "to wait at a queue", "raise ulimit -n"):
            self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        flags = lib.MSG_EXCEPT if exclude else 0
        try:
            check(
                lib.ipk_relay_start(self._relay, queue_id, type, flags, self._fd),
                "pthread_create",
                "a relay needs one thread of 64 KiB",
            )
        except BaseException:
            os.close(self._fd)
            raise
        # Keeps the struct alive until the thread is joined, at the latest when Python ends.
        self._closer = weakref.finalize(self, _close, self._relay, self._fd)

    def fileno(self) -> int:
        """Return the eventfd: readable when there is something to collect; -1 when closed."""
        return self._fd

    def arm(self) -> None:
        """Wait for the next fitting message. Does nothing while armed or not collected.

        Blocks: never. Raises MisuseError when closed, or in a child of a fork.
        """
        self._ask(lib.ipk_relay_arm(self._open()))

    def disarm(self) -> None:
        """Wait no longer; what was seen until now can be collected.

        Blocks: until the thread has left the queue, some 50 us. Raises as arm().
        """
        self._ask(lib.ipk_relay_disarm(self._open()))

    def collect(self) -> Wakeup:
        """Return what was seen since the last time, and make the descriptor unreadable.

        Blocks: never. Raises as arm().
        """
        seen = self._ask(lib.ipk_relay_collect(self._open(), self._type_seen))
        if seen == Seen.EMPTY:
            return Wakeup(Seen.EMPTY, self._type_seen[0])
        return Wakeup(Seen(seen))

    def close(self) -> None:
        """End the thread and close the descriptor; again: nothing.

        An EMPTY message that was not collected goes back, to the end of the queue.
        Blocks: until the thread has left the queue, some 50 us.
        """
        self._fd = -1
        self._closer()

    def __reduce__(self) -> str:
        """Refuse: its thread stays in this process."""
        raise TypeError(
            f"cannot pickle {type(self).__name__!r} object: its thread is in this process; make "
            f"one there with the id of the queue"
        )

    def _open(self) -> Any:
        if self._fd < 0:
            raise MisuseError("this relay is closed")
        return self._relay

    @staticmethod
    def _ask(result: int) -> int:
        if result < 0:
            raise MisuseError("this relay belongs to the process that made it: make one here")
        return result


def _close(relay: Any, fd: int) -> None:
    lib.ipk_relay_close(relay)  # -ECHILD in a child of a fork: the thread is the parent's
    os.close(fd)

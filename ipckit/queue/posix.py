"""POSIX message queues: named, with priorities, and with a descriptor.

Contract  docs/contracts/queue.md; Q2, Q8 and Q10 are System V's alone.
Kernel    mq_open(3), mq_send(3), mq_receive(3), mq_unlink(3), poll(2); limits in
          /proc/sys/fs/mqueue/. All waits are poll(): mq_timedsend's clock can be set back.
Stands on ipckit.queue.{posix_calls,posix_open} (posix_ipc, or the C core), ipckit._core
          (python/queues/messages.h), ipckit.errors, ipckit._spawning, ipckit._timeouts,
          ipckit.queue.contract.
Outlives  the process: a queue stays in the kernel until remove(), and then until all have closed.
Invariant the descriptor never blocks (O_NONBLOCK), so no call holds up a thread but poll().
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ipckit._closing import Closing
from ipckit._core._messages import Posix
from ipckit._spawning import additions, check_class, replaced
from ipckit._timeouts import deadline_of, time_left
from ipckit.errors import (
    AccessDenied,
    AlreadyExists,
    MessageTooLarge,
    MisuseError,
    NotFound,
    QueueEmpty,
    QueueFull,
    from_errno,
)
from ipckit.queue import posix_open
from ipckit.queue.contract import (
    MAX_PRIORITY,
    Body,
    Message,
    as_bytes,
    check_number,
)
from ipckit.queue.descriptor_waits import DescriptorWaits
from ipckit.queue.posix_calls import CALLS, Calls, MessageQueue

__all__ = ["PosixQueue", "PosixStatistics"]

_LONGEST_POLL = 86400.0  # seconds; poll() takes milliseconds in 32 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class PosixStatistics:
    """How a POSIX queue stands: mq_getattr(3) and fstat(2)."""

    messages: int
    max_messages: int
    max_message_size: int
    mode: int
    uid: int
    gid: int


_FULL = "receive some, or wait longer"
_EMPTY = "send one first, or wait longer"


class PosixQueue(Closing, Posix):
    """A POSIX message queue; made by create(), open() or open_or_create().

    Process safe and thread safe (asend and areceive: in any number of loops), but close() it only
    when no other thread waits at it. A fork gives the child the same queue, usable at once; each
    process closes its own descriptor, and a program that is executed does not get it. A pickle has
    the name, and unpickling opens the queue by that: NotFound after a removal.

    As a context manager it is closed at the end, not removed.
    """

    __slots__ = ("__weakref__", "_in", "_max_size", "_mq", "_name", "_out")

    _calls: ClassVar[Calls] = CALLS

    def __init__(self, mq: MessageQueue) -> None:
        """Use create(), open() or open_or_create() instead."""
        self._mq = mq
        self._begin(mq.mqd, Message, None)
        self._name: str = mq.name
        self._max_size: int = mq.max_message_size
        self._in = DescriptorWaits()
        self._out = DescriptorWaits()

    @classmethod
    def create(
        cls,
        name: str,
        *,
        mode: int = 0o600,
        max_messages: int = 10,
        max_message_size: int = 8192,
    ) -> Self:
        """Make a new queue.

        Args:
            name: "/" and 1..254 bytes without "/".
            mode: 0..0o777, exactly, whatever the umask.
            max_messages: 1 or more; over /proc/sys/fs/mqueue/msg_max (10) needs CAP_SYS_RESOURCE.
            max_message_size: bytes, 1 or more; likewise over msgsize_max (8192).

        Raises:
            AlreadyExists. AccessDenied. ValueError: over a limit, both numbers named.
            SystemCallError: EMFILE (`ulimit -q`) or ENOSPC (queues_max). Nothing is left behind.

        Crash: the queue may stay, perhaps with fewer rights. Source: mq_open(3), mq_overview(7).
        """
        posix_open.check_name(name)
        check_number("mode", mode, 0, 0o777)
        check_number("max_messages", max_messages, 1, 2**31 - 1)
        check_number("max_message_size", max_message_size, 1, 2**31 - 1)
        queue = cls(posix_open.made(cls._calls, name, mode, max_messages, max_message_size))
        if queue.statistics().mode != mode:  # the umask took some rights away
            try:
                queue.set(mode=mode)
            except BaseException:
                queue.remove()
                queue.close()
                raise
        return queue

    @classmethod
    def open(cls, name: str) -> Self:
        """Return the queue with this name, for reading and writing.

        Raises NotFound; AccessDenied without either right. Source: mq_open(3).
        """
        posix_open.check_name(name)
        return cls(posix_open.found(cls._calls, name))

    @classmethod
    def open_or_create(
        cls,
        name: str,
        *,
        mode: int = 0o600,
        max_messages: int = 10,
        max_message_size: int = 8192,
    ) -> Self:
        """Return the queue with this name; make it if there is none. Any number may call at once.

        The settings are for a new one; an old one is taken as it is. Raises as create().
        """
        while True:  # each turn lost means that others made and removed it in between
            try:
                return cls.open(name)
            except NotFound:
                pass
            try:
                return cls.create(
                    name, mode=mode, max_messages=max_messages, max_message_size=max_message_size
                )
            except AlreadyExists:
                pass

    @property
    def name(self) -> str:
        """The name it was opened by; after remove() it may be another queue's."""
        return self._name

    def fileno(self) -> int:
        """Return the descriptor: readable with a message, writable with room; -1 when closed."""
        return self._id

    def _send(self, body: Body, *, priority: int = 0, timeout: float | None = None) -> None:
        """See send(): all cases but the usual one."""
        deadline = deadline_of(timeout)
        body = as_bytes(body)
        while True:
            try:
                return self.send_nowait(body, priority=priority)
            except QueueFull:
                if not self._wait(select.POLLOUT, deadline):
                    raise

    def _send_nowait(self, body: Body, *, priority: int = 0) -> None:
        """See send_nowait()."""
        body = as_bytes(body)
        check_number("priority", priority, 0, MAX_PRIORITY)
        size = len(body)
        if size > self._max_size:
            raise MessageTooLarge(
                errno.EMSGSIZE,
                f"mq_send: {size} bytes in one message, max_message_size of {self._name} is "
                f"{self._max_size}: send less, or create the queue with a larger one",
            )
        self._open()
        try:
            self._mq.send(body, priority)
        except BlockingIOError:
            detail = f"{size} bytes beside {self._mq.max_messages} messages, which are all; {_FULL}"
            raise from_errno("mq_send", errno.EAGAIN, detail) from None
        except OSError:
            self._open()  # MisuseError: another thread closed it
            raise

    def _receive(self, *, timeout: float | None = None) -> Message:
        """See receive()."""
        deadline = deadline_of(timeout)
        while True:
            try:
                return self.receive_nowait()
            except QueueEmpty:
                if not self._wait(select.POLLIN, deadline):
                    raise

    def _receive_nowait(self) -> Message:
        """See receive_nowait()."""
        self._open()
        try:
            body, priority = self._mq.receive()
        except BlockingIOError:
            raise from_errno(
                "mq_receive", errno.EAGAIN, f"no message in {self._name}; {_EMPTY}"
            ) from None
        except OSError:
            self._open()  # MisuseError: another thread closed it
            raise
        return Message(priority, body)

    async def asend(
        self,
        body: Body,
        *,
        priority: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109  (the API's: the same as send())
    ) -> None:
        """As send(), without holding up the loop; several take turns. Cancelled: nothing sent."""
        deadline = deadline_of(timeout)
        body = as_bytes(body)
        if timeout == 0:
            return self.send_nowait(body, priority=priority)
        try:
            async with asyncio.timeout(time_left(deadline)), self._out.lock():
                while True:
                    try:
                        return self.send_nowait(body, priority=priority)
                    except QueueFull:
                        await self._out.ready(self._id, to_write=True)
        except TimeoutError:
            detail = f"{len(body)} bytes found no room in {timeout} s; {_FULL}"
            raise from_errno("mq_send", errno.EAGAIN, detail) from None

    async def areceive(self, *, timeout: float | None = None) -> Message:  # noqa: ASYNC109
        """As receive(), without holding up the loop; several take turns. Cancelled: none taken."""
        deadline = deadline_of(timeout)
        if timeout == 0:
            return self.receive_nowait()
        try:
            async with asyncio.timeout(time_left(deadline)), self._in.lock():
                while True:
                    try:
                        return self.receive_nowait()
                    except QueueEmpty:
                        await self._in.ready(self._id)
        except TimeoutError:
            detail = f"no message in {self._name} in {timeout} s; {_EMPTY}"
            raise from_errno("mq_receive", errno.EAGAIN, detail) from None

    def statistics(self) -> PosixStatistics:
        """Return how the queue stands now."""
        stat = os.fstat(self._open())
        return PosixStatistics(
            messages=self._mq.current_messages,
            max_messages=self._mq.max_messages,
            max_message_size=self._max_size,
            mode=stat.st_mode & 0o777,
            uid=stat.st_uid,
            gid=stat.st_gid,
        )

    def set(
        self, *, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        """Change the rights or the owner; the sizes of a POSIX queue never change.

        Raises AccessDenied (not ours). Owner first, so what is refused there changes nothing.
        """
        for name, value, most in (("mode", mode, 0o777), ("uid", uid, None), ("gid", gid, None)):
            if value is not None:
                check_number(name, value, 0, 2**32 - 2 if most is None else most)
        fd = self._open()
        try:
            if uid is not None or gid is not None:
                os.fchown(fd, -1 if uid is None else uid, -1 if gid is None else gid)
            if mode is not None:
                os.fchmod(fd, mode)
        except OSError as exc:
            detail = f"mode, uid, gid = {mode}, {uid}, {gid}"
            raise from_errno("fchown", exc.errno or 0, detail) from None

    def remove(self) -> None:
        """Take the name away: nobody finds the queue any more.

        All that have it open, this object too, go on using it; the kernel frees it after the last
        close(). Nobody's wait is ended. Raises NotFound (no such name, or it is another queue's
        by now, which stays), AccessDenied.
        """
        self._open()
        if self._is_anothers():
            raise NotFound(
                errno.ENOENT,
                f"mq_unlink: {self._name} is another queue by now, which stays; this one was "
                f"removed before",
            )
        try:
            self._calls.unlink(self._name)
        except FileNotFoundError:
            raise NotFound(
                errno.ENOENT, f"mq_unlink: no queue is named {self._name}; it was removed before"
            ) from None
        except PermissionError:
            raise AccessDenied(
                errno.EACCES,
                f"mq_unlink: {self._name} is not ours; its owner, or root, can remove it",
            ) from None

    unlink = remove

    def _is_anothers(self) -> bool:
        """Whether a queue that is not this one has the name. False where it may not be opened."""
        try:
            named = self._calls.find(self._name, writable=False)
        except OSError:
            return False
        try:
            return not os.path.samestat(os.fstat(named.mqd), os.fstat(self._open()))
        finally:
            named.close()

    def close(self) -> None:
        """Let go of the queue, which stays for others; again: nothing.

        An asend() or areceive() that waits in this process gets MisuseError.
        """
        fd = self._end()
        if fd >= 0:
            self._in.refuse(_closed)
            self._out.refuse(_closed)
            self._mq.close()

    def __len__(self) -> int:
        """Return how many messages wait now."""
        self._open()
        return int(self._mq.current_messages)

    def __bool__(self) -> bool:
        """Be true, also when empty: `if queue` asks whether there is one."""
        return True

    def __repr__(self) -> str:
        """Say which one it is."""
        return f"<{type(self).__name__} {self._name}{', closed' if self._id < 0 else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Name the queue by its name. MisuseError: it is closed."""
        found = os.fstat(self._open())
        which = (self._name, found.st_dev, found.st_ino)
        return _unpickled, (type(self), *which), additions(self, ())

    def _open(self) -> int:
        if self._id < 0:
            raise _closed()
        return self._id

    def _wait(self, event: int, deadline: float | None) -> bool:
        """Wait until it is worth another try; False when the time is over."""
        poll = select.poll()
        poll.register(self._open(), event)
        while True:
            left = time_left(deadline)
            if left == 0:
                return False
            if poll.poll(None if left is None else min(left, _LONGEST_POLL) * 1000):
                return True


def _unpickled(cls: type[PosixQueue], name: str, device: int, inode: int) -> PosixQueue:
    """Open a queue by its name. NotFound: it was removed, also if another queue has the name."""
    check_class(cls, PosixQueue)
    queue = cls.open(name)
    found = os.fstat(queue.fileno())
    if (found.st_dev, found.st_ino) == (device, inode):
        return queue
    queue.close()
    raise replaced("mq_open", name)


def _closed() -> MisuseError:
    return MisuseError("this queue object is closed; open() the queue again")

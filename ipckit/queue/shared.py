"""SharedQueue: messages in shared memory, of any size, that no crash can lose or tear.

Contract  docs/contracts/shared-queue.md, H1 to H13; and docs/contracts/queue.md but Q2, Q8, Q10.
Stands on ipckit._core._shared_queue (all calls but those of event loops), ipckit._segments,
          ipckit._spawning, ipckit.errors, ipckit._timeouts, ipckit.queue.shared_contract,
          ipckit.queue.descriptor_waits.
Crash     a process that is killed inside a call has sent its message whole or not at all. What it
          had leased is given back immediately, and so is what it had reserved.
Outlives  the process, if it has a name, until remove(); else it ends with the last process that
          has it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Self, TypeVar

from ipckit._closing import Closing
from ipckit._core import _shared_queue
from ipckit._core._shared_queue import Lease, Reservation
from ipckit._segments import QUEUES, allocate, check_mode, open_or_make, status_of
from ipckit._spawning import (
    Sent,
    additions,
    check_class,
    descriptor_for_child,
    is_spawning,
    receive_descriptor,
    replaced,
)
from ipckit._timeouts import check_timeout
from ipckit.errors import MisuseError, QueueEmpty, QueueFull
from ipckit.queue import shared_contract
from ipckit.queue.contract import Body, Message, check_number
from ipckit.queue.descriptor_waits import DescriptorWaits
from ipckit.queue.shared_contract import BYTES, MAX_BYTES, MAX_MESSAGES, PAGE
from ipckit.queue.shared_views import DeadMessages, LeaseHolder, SharedStatistics

__all__ = ["Lease", "Reservation", "SharedQueue", "filler", "open_any"]

_MESSAGE, _ROOM = 0, 1
"""The events of _shared_queue.Queue._watch()."""

_OWN = frozenset({"_closed", "_file", "_in", "_memory", "_name", "_out", "_shape"})
"""The attributes that the segment gives, or that are of this process."""

_Got = TypeVar("_Got")


class SharedQueue(Closing, _shared_queue.Queue):
    """A queue in shared memory for any number of senders and receivers.

    SharedQueue() makes one without a name, for related processes: a fork shares it, and so does a
    `multiprocessing.Process` that has it in its args. create() and open() are for a named one.

    Process safe and thread safe. Messages are received in the order in which they were sent; one
    that is given back keeps its place.

    - send(), receive(): as of every queue. What is received is gone (Q14).
    - lease(): the message stays in the queue, and belongs to this thread, until it is acknowledged.
    - reserve(): space in the queue's memory, to write a message in place.

    Args:
        max_messages: messages at a time, leased and dead ones too, 1..2**23.
        max_bytes: of the bodies over 192 bytes together, in pages of 4096 bytes, which are taken
            at once; also the longest body. Shorter bodies have memory of their own.
        max_attempts: a message that was leased so often and not acknowledged is dead, see `dead`;
            1..255, None: it is given back each time.

    Raises:
        TypeError, ValueError. SystemCallError: ENOSPC, there is not so much shared memory. Nothing
        is made then.

    Source: the leases are those of work queues (beanstalkd's reserve, Amazon SQS's visibility).
    """

    _closed: bool
    _file: tuple[int, int]
    _in: DescriptorWaits
    _memory: int
    _name: str | None
    _out: DescriptorWaits
    _shape: tuple[int, int, int, int]

    def __init__(
        self,
        max_messages: int = 1024,
        max_bytes: int = 64 << 20,
        *,
        max_attempts: int | None = 20,
    ) -> None:
        """Make a queue without a name."""
        what, fill = filler(max_messages, max_bytes, max_attempts, BYTES)
        self._take(QUEUES.make_anonymous(what, fill), None)

    @classmethod
    def create(
        cls,
        name: str,
        *,
        max_messages: int = 1024,
        max_bytes: int = 64 << 20,
        max_attempts: int | None = 20,
        mode: int = 0o600,
    ) -> Self:
        """Make a new queue with a name.

        Args:
            name: 1..200 of A-Z a-z 0-9 . _ -; the segment is /dev/shm/ipckit-queue.NAME.
            max_messages: as SharedQueue().
            max_bytes: as SharedQueue().
            max_attempts: as SharedQueue().
            mode: rights of the file. Only its owner can open it, and not when others may write.

        Raises:
            AlreadyExists. Else as SharedQueue().

        Crash: a creator that is killed leaves nothing, or the whole queue.
        """
        QUEUES.path_of(name)
        check_mode(mode)
        _, fill = filler(max_messages, max_bytes, max_attempts, BYTES)
        return QUEUES.make(name, mode, fill, lambda fd: cls._of(fd, name))

    @classmethod
    def open(cls, name: str) -> Self:
        """Open a named queue; its sizes come from the segment.

        Raises:
            NotFound. AccessDenied: another user's, or one that others may write to.
            SegmentCorrupt: damaged, cut off, or of another version; nothing of it was used.
            MisuseError: it is an ObjectQueue's.
        """
        queue = cls._of(QUEUES.open(name), name)
        if queue._content == BYTES:
            return queue
        queue.close()
        raise MisuseError(f"open: the queue {name!r} holds objects: use ObjectQueue.open()")

    @classmethod
    def open_or_create(
        cls,
        name: str,
        *,
        max_messages: int = 1024,
        max_bytes: int = 64 << 20,
        max_attempts: int | None = 20,
        mode: int = 0o600,
    ) -> Self:
        """Return the queue with this name; make it if there is none. Any number may call at once.

        The settings are for a new one; an old one is taken as it is. Raises as create() and open().
        """
        return open_or_make(
            partial(cls.open, name),
            partial(
                cls.create,
                name,
                max_messages=max_messages,
                max_bytes=max_bytes,
                max_attempts=max_attempts,
                mode=mode,
            ),
        )

    @property
    def name(self) -> str | None:
        """The name it was made or opened by; after remove() it may be another queue's."""
        return self._name

    @property
    def max_messages(self) -> int:
        """Messages at a time."""
        return self._shape[0]

    @property
    def max_bytes(self) -> int:
        """Bytes of the bodies over 192 bytes together: whole pages."""
        return self._shape[1] * PAGE

    @property
    def max_attempts(self) -> int | None:
        """Leases of a message until it is dead; None: no limit."""
        return self._shape[2] or None

    @property
    def _content(self) -> int:
        return self._shape[3]

    @property
    def dead(self) -> DeadMessages:
        """The messages whose attempts are over. They keep their memory until they are removed."""
        return DeadMessages(self)

    async def asend(self, body: Body, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """As send(), without holding up the loop; several take turns. Cancelled: nothing sent."""
        if timeout is not None:
            check_timeout(timeout)
        if not self._out.waiting or timeout == 0 or not self._others_wait(self._out):
            try:
                return self.send_nowait(body)
            except QueueFull:
                if timeout == 0:
                    raise
        self._check_size(len(shared_contract.as_buffer(body)))  # before it waits its turn
        return await self._waited(_ROOM, lambda: self.send_nowait(body), timeout)

    async def areceive(self, *, timeout: float | None = None) -> Message:  # noqa: ASYNC109
        """As receive(), without holding up the loop; several take turns. Cancelled: none taken."""
        if timeout is not None:
            check_timeout(timeout)
        if not self._in.waiting or timeout == 0 or not self._others_wait(self._in):
            try:
                return self.receive_nowait()
            except QueueEmpty:
                if timeout == 0:
                    raise
        return await self._waited(_MESSAGE, self.receive_nowait, timeout)

    async def alease(self, *, timeout: float | None = None) -> Lease:  # noqa: ASYNC109
        """As lease(), without holding up the loop; several take turns. Cancelled: none leased.

        `with await queue.alease() as job:`. `timeout`: seconds, None for no limit.
        """
        check_timeout(timeout)
        if timeout == 0 or not self._others_wait(self._in):
            try:
                return self.lease(0)
            except QueueEmpty:
                if timeout == 0:
                    raise
        return await self._waited(_MESSAGE, lambda: self.lease(0), timeout)

    async def areserve(
        self,
        size: int,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  (the API's: the same as reserve())
    ) -> Reservation:
        """As reserve(), without holding up the loop; several take turns. Cancelled: no space.

        `size`: bytes. `timeout`: seconds, None for no limit.
        """
        check_timeout(timeout)
        if timeout == 0 or not self._others_wait(self._out):
            try:
                return self.reserve(size, 0)
            except QueueFull:
                if timeout == 0:
                    raise
        check_number("size", size, 0, 2**63 - 1)
        self._check_size(size)
        return await self._waited(_ROOM, lambda: self.reserve(size, 0), timeout)

    def fileno(self) -> int:
        """Return a descriptor of this process: readable when there may be a message.

        For select(2) and poll(2). When it is readable, call receive_nowait() until QueueEmpty:
        that one makes it unreadable. -1 when the queue is closed. It is an eventfd(2), which a
        thread writes that waits at the queue; the first call starts it. A child of a fork has to
        ask again.
        """
        return -1 if self._closed else self._watch(_MESSAGE)

    def statistics(self) -> SharedStatistics:
        """Return how it stands, in numbers; exact while no other process is at work."""
        counts = self._count()
        _, _, queued, leased, delayed, dead, _, pages, sent_ns, sent, redelivered = counts
        waits = queued + leased + delayed
        return SharedStatistics(
            messages=queued,
            leased=leased,
            delayed=delayed,
            dead=dead,
            max_messages=self.max_messages,
            max_bytes=self.max_bytes,
            free_bytes=pages * PAGE,
            oldest_age=shared_contract.age_of(sent_ns) if waits else None,
            sent=sent,
            redelivered=redelivered,
            memory_size=self._memory,
        )

    def holders(self) -> list[LeaseHolder]:
        """Return the messages that are leased now, and by which threads."""
        return [
            LeaseHolder(thread_id, attempt, size, shared_contract.age_of(sent_ns))
            for _, thread_id, attempt, size, sent_ns in self._holders()
        ]

    def verify(self) -> list[str]:
        """Check every invariant of the segment; return the broken ones, none when it is sound.

        While other threads are inside a call it may name what they have not completed.
        """
        broken = self._verify()
        return [] if broken is None else [broken]

    def close(self) -> None:
        """Let go of it in this process; the messages stay for the others. Again: nothing.

        What waits in this object gets MisuseError. A lease or a reservation stays usable.
        """
        if self._closed:
            return
        self._closed = True
        self._in.refuse(shared_contract.closed)
        self._out.refuse(shared_contract.closed)
        self._close()

    def remove(self) -> None:
        """Take the name away: no process finds the queue any more.

        All that have it open, this object too, go on using it. NotFound: the name was taken away
        before, also if another queue has it by now. MisuseError: it has none.
        """
        self._depth()  # MisuseError
        if self._name is None:
            raise MisuseError("remove: this queue has no name; it ends with its processes")
        QUEUES.remove(self._name, self._file)

    def __len__(self) -> int:
        """Return how many messages a receiver can have now."""
        return self._depth()

    def __bool__(self) -> bool:
        """Be true, also when empty: `if queue` asks whether there is one."""
        return True

    def __repr__(self) -> str:
        """Say which one it is."""
        name = f" {self._name!r}" if self._name else ""
        state = "closed" if self._closed else f"{self.max_messages} messages"
        return f"<{type(self).__name__}{name}: {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Share it with a process that is being started; else by its name, or MisuseError."""
        fd = self._descriptor()  # MisuseError
        extra = additions(self, _OWN)
        if self._name is not None and not is_spawning():
            return _opened, (type(self), self._name, *self._file), extra
        sent = descriptor_for_child(fd, type(self).__name__, "give the queue a name", self._file)
        return _received, (type(self), self._name, sent), extra

    @classmethod
    def _of(cls, fd: int, name: str | None) -> Self:
        """Return the queue of a segment that is there."""
        queue = cls.__new__(cls)
        queue._take(fd, name)
        return queue

    def _take(self, fd: int, name: str | None) -> None:
        """Map the segment; the descriptor is this object's."""
        try:
            found = status_of(fd)
            self._shape = self._attach(fd, Message, shared_contract)  # the last that may raise
        except BaseException:
            os.close(fd)
            raise
        self._file = found.st_dev, found.st_ino
        self._memory = found.st_size
        self._name = name
        self._closed = False
        self._in = DescriptorWaits()
        self._out = DescriptorWaits()

    def _others_wait(self, waits: DescriptorWaits) -> bool:
        """Whether a call that comes now is to stand behind others of this process."""
        if not waits.waiting:
            return False
        waits.check_process()
        return waits.waiting > 0

    def _check_size(self, size: int) -> None:
        if size > shared_contract.INLINE and size > self.max_bytes:
            raise shared_contract.too_large(size, self._shape[1])

    async def _waited(
        self,
        event: int,
        attempt: Callable[[], _Got],
        timeout: float | None,  # noqa: ASYNC109  (as of the calls)
    ) -> _Got:
        """Call `attempt` until it has something, in turn with the others of this loop."""
        waits = self._out if event else self._in
        last: QueueEmpty | QueueFull | None = None
        lock = waits.lock()
        waits.waiting += 1
        try:
            async with asyncio.timeout(timeout), lock:
                while True:
                    fd = self._watch(event)  # before the attempt: one in vain makes it tell
                    try:
                        return attempt()
                    except (QueueEmpty, QueueFull) as nothing:
                        last = nothing.with_traceback(None)
                    await waits.ready(fd)
        except TimeoutError:
            raise last or (shared_contract.empty(), shared_contract.no_turn())[event] from None
        finally:
            waits.waiting -= 1


def open_any(name: str) -> SharedQueue:
    """As SharedQueue.open(), of whatever it holds: for tools, which do not read the messages."""
    return SharedQueue._of(QUEUES.open(name), name)


def filler(
    max_messages: int, max_bytes: int, max_attempts: int | None, content: int
) -> tuple[str, Callable[[int], None]]:
    """Return what a queue of these sizes is called in errors, and how it is written into a file."""
    check_number("max_messages", max_messages, 1, MAX_MESSAGES)
    check_number("max_bytes", max_bytes, 1, MAX_BYTES)
    if max_attempts is not None:
        check_number("max_attempts", max_attempts, 1, 255)
    shape = max_messages, -(-max_bytes // PAGE), max_attempts or 0, content
    what = f"a queue of {max_messages} messages and {max_bytes} bytes"

    def fill(fd: int) -> None:
        with allocate(fd, _shared_queue.size_of(*shape), what) as memory:
            _shared_queue.lay_out(memory, *shape)

    return what, fill


def _opened(cls: type[SharedQueue], name: str, device: int, inode: int) -> SharedQueue:
    """Unpickle a queue by its name. NotFound: another queue has the name by now."""
    check_class(cls, SharedQueue)
    queue = cls._of(QUEUES.open(name), name)
    if queue._file == (device, inode):
        return queue
    queue.close()
    raise replaced("open", name)


def _received(cls: type[SharedQueue], name: str | None, sent: Sent) -> SharedQueue:
    """Unpickle a queue in the process that was started with it."""
    check_class(cls, SharedQueue)
    if name is not None:
        QUEUES.path_of(name)
    return cls._of(receive_descriptor(sent), name)

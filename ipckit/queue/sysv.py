"""System V message queues: one kernel object, many processes, typed messages.

Contract  docs/contracts/queue.md, rules Q1..Q16 (all of them).
Kernel    msgget(2), msgsnd(2), msgrcv(2), msgctl(2); limits in /proc/sys/kernel/msg*.
Stands on ipckit._core (queues/sysv.h, python/queues/messages.h), ipckit.errors, ipckit._timeouts,
          ipckit._spawning,
          ipckit.queue.{contract,sysv_async,sysv_calls}.
Outlives  the process: a queue stays in the kernel until remove(). `ipcs -q` shows it.
Signals   a wait with a time limit uses SIGRTMAX-2, areceive SIGRTMAX-3: leave these two alone.
"""

# ruff: noqa: A002  (`type` and `id` are the kernel's words and the API's)

from __future__ import annotations

import asyncio
import errno
from time import monotonic
from typing import Any, Self

from ipckit._closing import Closing
from ipckit._core import check, ffi, lib
from ipckit._core._messages import Sysv
from ipckit._spawning import additions, check_class
from ipckit._timeouts import deadline_of, time_left
from ipckit.errors import (
    AccessDenied,
    AlreadyExists,
    NotFound,
    QueueEmpty,
    QueueFull,
    from_errno,
)
from ipckit.queue.contract import (
    Body,
    Message,
    Statistics,
    as_bytes,
    check_choice,
    check_number,
    check_settings,
    check_type,
)
from ipckit.queue.sysv_async import Waits
from ipckit.queue.sysv_calls import (
    SMALL,
    about_make,
    buffer,
    check_key,
    closed,
    limit,
    not_received,
    not_sent,
    stat_of,
    wait_ns,
)

__all__ = ["SysvQueue"]

_LADDER = (0.001, 0.02)  # asend: the first and the longest sleep between two tries


class SysvQueue(Closing, Sysv):
    """A System V message queue; made by create(), open(), open_id() or open_or_create().

    Process safe and thread safe (asend and areceive: in any number of loops). A fork gives the
    child the same queue, usable at once; the two objects close() on their own. A pickle has the
    id, and unpickling opens the queue by that: NotFound after a removal.

    As a context manager it is closed at the end, not removed.
    """

    __slots__ = ("__weakref__", "_given", "_key", "_waits")

    def __init__(self, queue_id: int, key: int | None) -> None:
        """Use create(), open(), open_id() or open_or_create() instead."""
        self._key = key
        self._waits = Waits()
        self._given = self._waits.given
        self._begin(queue_id, Message, self._given)

    @classmethod
    def create(
        cls, key: int | None = None, *, mode: int = 0o600, max_bytes: int | None = None
    ) -> Self:
        """Make a new queue.

        Args:
            key: -2**31..2**31-1 without 0, e.g. from ipckit.ftok(); None: private, found by no key.
            mode: 0..0o777; reading is receiving, writing is sending.
            max_bytes: room for bodies and most messages; None: the kernel's msgmnb (16384). More
                than msgmnb needs CAP_SYS_RESOURCE.

        Raises:
            AlreadyExists: there is a queue with this key. AccessDenied: max_bytes is over msgmnb.
            SystemCallError: ENOSPC, too many queues (msgmni). Nothing is left behind.

        Crash: the queue may stay, perhaps still with msgmnb. Source: msgget(2).
        """
        check_key(key)
        check_settings(mode, None, None, max_bytes)
        code = lib.ipk_msgq_make(key or 0, mode)
        if code < 0:
            raise from_errno("msgget", -code, about_make(key, -code))
        queue = cls(code, key)
        if max_bytes is not None:
            try:
                queue.set(max_bytes=max_bytes)
            except BaseException:
                queue.remove()
                raise
        return queue

    @classmethod
    def open(cls, key: int) -> Self:
        """Return the queue with this key, -2**31..2**31-1 without 0.

        Raises NotFound. Rights are checked at each use, not here. Source: msgget(2).
        """
        if key is None:
            raise TypeError("key=None: a private queue has no key; open_id() finds it by its id")
        check_key(key)
        code = lib.ipk_msgq_find(key)
        if code < 0:
            raise from_errno("msgget", -code, f"key {key}; create() makes a queue")
        return cls(code, key)

    @classmethod
    def open_id(cls, id: int) -> Self:
        """Return the queue with this id, as `.id` told it, e.g. for a private queue.

        Raises NotFound; AccessDenied without the right to read. Source: msgctl(2) IPC_STAT.
        """
        check_number("id", id, 0, 2**31 - 1)
        stat = ffi.new("struct ipk_msgq_stat *")
        code = lib.ipk_msgq_stat(id, stat)
        if code == -errno.EIDRM:
            raise NotFound(errno.ENOENT, f"msgctl: no queue has the id {id}; see `ipckit ls`")
        check(code, "msgctl", f"queue id {id}")
        return cls(id, stat.key or None)

    @classmethod
    def open_or_create(cls, key: int, *, mode: int = 0o600, max_bytes: int | None = None) -> Self:
        """Return the queue with this key; make it if there is none. Any number may call at once.

        mode and max_bytes are for a new one; an old one is taken as it is. Raises as create().
        """
        if key is None:
            raise TypeError("key=None: a private queue is always new; use create()")
        check_settings(mode, None, None, max_bytes)
        while True:  # each turn lost means that others made and removed it in between
            try:
                return cls.open(key)
            except NotFound:
                pass
            try:
                return cls.create(key, mode=mode, max_bytes=max_bytes)
            except AlreadyExists:
                pass

    @property
    def key(self) -> int | None:
        """The key; None for a private queue."""
        return self._key

    @property
    def id(self) -> int:
        """The kernel's number, by which any process may open it. Raises MisuseError when closed."""
        return self._open()

    def _send(self, body: Body, *, type: int = 1, timeout: float | None = None) -> None:
        """See send(): all cases but the usual one."""
        deadline = None if timeout is None else deadline_of(timeout)
        try:
            self.send_nowait(body, type=type)
        except QueueFull:
            if timeout == 0:
                raise
        else:
            return
        body = as_bytes(body)
        message, room = buffer(len(body))
        message.type = type
        ffi.memmove(room, body, len(body))
        code = -errno.EINTR
        while code == -errno.EINTR:
            code = lib.ipk_msgq_send(self._id, message, len(body), wait_ns(deadline))
        if code < 0:
            raise not_sent(self._id, code, len(body))

    def _send_nowait(self, body: Body, *, type: int = 1) -> None:
        """See send_nowait()."""
        body = as_bytes(body)
        check_type(type)
        queue_id, size = self._open(), len(body)
        code = -errno.EMSGSIZE
        if size <= lib.ipk_msgq_max_size():
            message, room = buffer(size)
            message.type = type
            ffi.memmove(room, body, size)
            code = lib.ipk_msgq_send(queue_id, message, size, 0)
        if code:
            raise not_sent(queue_id, code, size)

    def _receive(
        self,
        *,
        type: int = 0,
        exclude: bool = False,
        max_size: int | None = None,
        truncate: bool = False,
        timeout: float | None = None,
    ) -> Message:
        """See receive()."""
        deadline = None if timeout is None else deadline_of(timeout)
        try:
            return self.receive_nowait(
                type=type, exclude=exclude, max_size=max_size, truncate=truncate
            )
        except QueueEmpty:
            if timeout == 0:
                raise
        return self._take(type, exclude, max_size, truncate, wait=True, deadline=deadline)

    def _receive_nowait(
        self,
        *,
        type: int = 0,
        exclude: bool = False,
        max_size: int | None = None,
        truncate: bool = False,
    ) -> Message:
        """See receive_nowait()."""
        check_choice(type, exclude, max_size)
        return self._take(type, exclude, max_size, truncate)

    async def asend(
        self,
        body: Body,
        *,
        type: int = 1,
        timeout: float | None = None,  # noqa: ASYNC109  (the API's: the same as send())
    ) -> None:
        """As send(), without holding up the loop. A cancelled one has sent nothing.

        While the queue is full it tries again after 1 ms, then 2, 4 .. 20 ms: a System V queue
        tells nobody that it has room again. So blocked send()s of other processes go first.
        """
        deadline = deadline_of(timeout)
        body = as_bytes(body)
        pause, longest = _LADDER
        while True:
            try:
                return self.send_nowait(body, type=type)
            except QueueFull:
                if deadline is not None and monotonic() >= deadline:
                    raise
            left = time_left(deadline)
            await asyncio.sleep(pause if left is None else min(pause, left))
            pause = min(pause * 2, longest)

    async def areceive(
        self,
        *,
        type: int = 0,
        exclude: bool = False,
        max_size: int | None = None,
        truncate: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Message:
        """As receive(), without holding up the loop. Several of one choice take turns, in order.

        The wait takes nothing: one that is cancelled, late or killed loses no message. A message
        without a body is the exception: the kernel hands it to the waiting thread, and a kill in
        the microseconds until it is received loses it; cancelled, it goes back to the end.

        Blocks the loop never, except some 50 us when it is cancelled or late. Uses one thread of
        64 KiB for each choice of type and exclude that had to wait.
        """
        deadline = deadline_of(timeout)
        check_choice(type, exclude, max_size)
        if timeout == 0 or self._waits.nobody():  # then without a relay, if a message is there
            try:
                return self._take(type, exclude, max_size, truncate)
            except QueueEmpty:
                if timeout == 0:
                    raise
        queue_id = self._open()
        post = self._waits.enter(queue_id, type, exclude)
        try:
            async with asyncio.timeout(time_left(deadline)), post.lock:
                while True:
                    try:
                        return self._take(type, exclude, max_size, truncate)
                    except QueueEmpty:
                        await post.wakeup()
        except TimeoutError:
            raise not_received(-errno.ENOMSG, type, max_size) from None
        finally:
            self._waits.leave(post, queue_id)

    def statistics(self) -> Statistics:
        """Return how the queue stands now. Raises QueueRemoved, AccessDenied (no right to read)."""
        stat = self._stat()
        return Statistics(
            messages=stat.messages + len(self._given),
            bytes=stat.bytes,
            max_bytes=stat.max_bytes,
            mode=stat.mode,
            uid=stat.uid,
            gid=stat.gid,
            last_sender_pid=stat.last_sender_pid,
            last_receiver_pid=stat.last_receiver_pid,
            sent_at=float(stat.sent_at),
            received_at=float(stat.received_at),
            changed_at=float(stat.changed_at),
        )

    def set(
        self,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        """Change what is given, all of it or nothing; the rest stays.

        Args: as create(); uid and gid 0..2**32-2. A smaller max_bytes leaves what waits there.

        Raises:
            AccessDenied: not ours, or max_bytes over msgmnb without CAP_SYS_RESOURCE.
            QueueRemoved. Of two processes that set at once one may undo the other's change.

        Source: msgctl(2) IPC_SET.
        """
        check_settings(mode, uid, gid, max_bytes)
        wanted = [-1 if value is None else value for value in (mode, uid, gid, max_bytes)]
        detail = f"mode, uid, gid, max_bytes = {mode}, {uid}, {gid}, {max_bytes}"
        if max_bytes is not None:
            detail += f"; more than msgmnb ({limit('msgmnb')}) needs CAP_SYS_RESOURCE"
        check(lib.ipk_msgq_set(self._open(), *wanted), "msgctl", detail)

    def remove(self) -> None:
        """Destroy the queue and all its messages, for everybody.

        Every wait for it, in any process, and every later call raises QueueRemoved.
        Raises QueueRemoved when it is gone already, AccessDenied (not the owner).
        """
        check(lib.ipk_msgq_remove(self._open()), "msgctl", "the queue was removed before")
        self._given.clear()
        self._waits.drop_idle(keep=0)

    def close(self) -> None:
        """Let go of the queue, which stays for others; again: nothing.

        An areceive() that waits in this process gets MisuseError; a receive() of another thread
        waits on.
        """
        queue_id = self._end()
        if queue_id >= 0:
            self._waits.close(queue_id)

    def __len__(self) -> int:
        """Return how many messages wait now."""
        return int(self._stat().messages) + len(self._given)

    def __bool__(self) -> bool:
        """Be true, also when empty: `if queue` asks whether there is one."""
        return True

    def __repr__(self) -> str:
        """Say which one it is."""
        state = "closed" if self._id < 0 else f"id {self._id}"
        return f"<{type(self).__name__} key {self._key}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Name the queue by its id, which any process may open. MisuseError: it is closed."""
        return _unpickled, (type(self), self._open(), self._key), additions(self, ())

    def _open(self) -> int:
        if self._id < 0:
            raise closed()
        return self._id

    def _stat(self) -> Any:
        return stat_of(self._open())

    def _take(
        self,
        type: int,
        exclude: bool,
        max_size: int | None,
        truncate: bool,
        *,
        wait: bool = False,
        deadline: float | None = None,
    ) -> Message:
        """Take a fitting message, whatever its size, with a buffer that grows as it must."""
        queue_id = self._open()
        if self._given and (given := self._waits.take_given(type, exclude)):
            return given
        size = SMALL if max_size is None else min(max_size, SMALL)
        message, room = buffer(size)
        flags = lib.MSG_EXCEPT if exclude else 0
        while True:
            if truncate and size == max_size:
                flags |= lib.MSG_NOERROR
            time_ns = wait_ns(deadline) if wait else 0
            got = lib.ipk_msgq_receive(queue_id, message, size, type, flags, time_ns)
            if got >= 0:
                return Message(message.type, ffi.unpack(room, got))
            if got == -errno.E2BIG and size != max_size:
                size = size * 2 if max_size is None else min(size * 2, max_size)
                message, room = buffer(size)
            elif got != -errno.EINTR:  # after which Python runs its handlers before the next turn
                raise not_received(got, type, max_size)


def _unpickled(cls: type[SysvQueue], queue_id: int, key: int | None) -> SysvQueue:
    """Open a queue by its id. NotFound: it was removed. Rights are checked at each use."""
    check_class(cls, SysvQueue)
    check_key(key)
    try:
        return cls.open_id(queue_id)
    except AccessDenied:  # a process that may only send cannot look
        return cls(queue_id, key)

"""ObjectQueue: Python objects over a SharedQueue, with the calls of multiprocessing.JoinableQueue.

Contract  docs/contracts/object-queue.md, B1 to B10.
Stands on ipckit.queue.{shared,shared_contract,shared_views}, ipckit.queue.objects.{codec,lease},
          ipckit._segments, ipckit._spawning, ipckit._timeouts, ipckit.errors.
Crash     as SharedQueue. What a dead thread had received and not finished counts as finished.
Outlives  as SharedQueue.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from ipckit import _plain_codec
from ipckit._closing import Closing
from ipckit._segments import QUEUES, check_mode, open_or_make
from ipckit._spawning import additions, check_class
from ipckit._timeouts import check_timeout
from ipckit.errors import MisuseError, QueueEmpty, QueueFull
from ipckit.queue.objects.codec import copied, dump, dump_plain, layout_for, load, loads
from ipckit.queue.objects.lease import ObjectLease
from ipckit.queue.shared import Lease, SharedQueue, filler
from ipckit.queue.shared_contract import PICKLES, PLAIN
from ipckit.queue.shared_views import DeadObjects, LeaseHolder, SharedStatistics

__all__ = ["ObjectQueue"]

_MESSAGE, _ROOM = 0, 1
_OWN = frozenset("_dump _load _loads _pickles _queue _send _take".split())
"""The attributes that the queue gives: what else an object has goes with its pickle."""


class ObjectQueue(Closing):
    """A queue of objects in shared memory, with the calls of multiprocessing.JoinableQueue.

    ObjectQueue() makes one without a name, for related processes, and pickles. create() and open()
    are for a named one, which holds plain data unless its users are `trusted`.

    put() returns when the object is in the shared memory; no thread sends it later. Buffers of 4096
    bytes and more, of a numpy array for one, are beside the pickle: put() copies them once, get()
    once, and lease() not at all. Process safe and thread safe.

    Args:
        max_messages: objects at a time, leased and dead ones too, 1..2**23.
        max_bytes: of the objects over 192 bytes together, in pages of 4096 bytes, which are taken
            at once; also the largest object.
        max_attempts: as SharedQueue; of leases, and of calls of get() in which a process died.

    Raises:
        TypeError, ValueError. SystemCallError: ENOSPC, there is not so much shared memory. Nothing
        is made then.

    Source: multiprocessing.JoinableQueue, PEP 574 (buffers out of band).
    """

    _queue: SharedQueue
    _dump: Callable[[Any], tuple[bytes, list[memoryview]]]
    _load: Callable[[memoryview], Any]
    _loads: Callable[[bytes], Any]
    _pickles: bool
    _send: Callable[[bytes, float | None], None]
    _take: Callable[[float | None], bytes | Lease]

    def __init__(
        self,
        max_messages: int = 8192,
        max_bytes: int = 64 << 20,
        *,
        max_attempts: int | None = 20,
    ) -> None:
        """Make a queue without a name."""
        what, fill = filler(max_messages, max_bytes, max_attempts, PICKLES)
        self._use(SharedQueue._of(QUEUES.make_anonymous(what, fill), None))

    @classmethod
    def create(
        cls,
        name: str,
        *,
        trusted: bool = False,
        max_messages: int = 8192,
        max_bytes: int = 64 << 20,
        max_attempts: int | None = 20,
        mode: int = 0o600,
    ) -> Self:
        """Make a new queue with a name.

        Args:
            name: as SharedQueue.create(): the two share their names.
            trusted: it holds pickles. To read one runs code of the process that sent it, so every
                process that can write to the queue is to be trusted. False: it holds plain data,
                None, bool, int of 64 bits, float, str, bytes, list and dict.
            max_messages: as ObjectQueue().
            max_bytes: as ObjectQueue().
            max_attempts: as ObjectQueue().
            mode: rights of the file. Only its owner can open it, and not when others may write.

        Raises:
            AlreadyExists. Else as ObjectQueue().
        """
        QUEUES.path_of(name)
        check_mode(mode)
        content = PICKLES if trusted else PLAIN
        _, fill = filler(max_messages, max_bytes, max_attempts, content)
        return cls._over(QUEUES.make(name, mode, fill, lambda fd: SharedQueue._of(fd, name)))

    @classmethod
    def open(cls, name: str, *, trusted: bool = False) -> Self:
        """Open a named queue; its sizes, and what it holds, come from the segment.

        Raises:
            MisuseError: it holds pickles and is not `trusted`, or it is no queue of objects.
            Else as SharedQueue.open().
        """
        queue = SharedQueue._of(QUEUES.open(name), name)
        try:
            _check_content(queue, trusted)
        except MisuseError:
            queue.close()
            raise
        return cls._over(queue)

    @classmethod
    def open_or_create(
        cls,
        name: str,
        *,
        trusted: bool = False,
        max_messages: int = 8192,
        max_bytes: int = 64 << 20,
        max_attempts: int | None = 20,
        mode: int = 0o600,
    ) -> Self:
        """Return the queue with this name; make it if there is none. Any number may call at once.

        The sizes are for a new one; an old one is taken as it is. Raises as create() and open().
        """
        return open_or_make(
            partial(cls.open, name, trusted=trusted),
            partial(
                cls.create,
                name,
                trusted=trusted,
                max_messages=max_messages,
                max_bytes=max_bytes,
                max_attempts=max_attempts,
                mode=mode,
            ),
        )

    # -- as multiprocessing.JoinableQueue ---

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an object on the queue; wait until there is room.

        Args:
            obj: what can be pickled; of a queue that is not trusted, plain data.
            block: False: raise QueueFull at once if there is no room.
            timeout: seconds; None waits for ever.

        Raises:
            TypeError: it cannot be pickled, or is not plain; the text names the part. QueueFull, a
            queue.Full: no room in that time. MessageTooLarge: it fits no empty queue. Nothing was
            put.

        Blocks: at most `timeout`. Crash: the object is on the queue whole, or not there.
        """
        if timeout is not None:
            check_timeout(timeout)
        data, buffers = self._dump(obj)
        if buffers:
            self._write(data, buffers, timeout if block else 0)
        else:
            self._send(data, timeout if block else 0)

    def put_nowait(self, obj: Any) -> None:
        """Put an object on the queue, or raise QueueFull at once. As put() otherwise."""
        self.put(obj, False)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest object off the queue; wait until one comes.

        It counts as unfinished, of this thread, until task_done().

        Args:
            block: False: raise QueueEmpty at once if there is none.
            timeout: seconds; None waits for ever.

        Raises:
            QueueEmpty, a queue.Empty: none in that time. What the unpickling raises: the object is
            off the queue then.

        Blocks: at most `timeout`. Crash: the object is on the queue again, with one more attempt,
        or gone. With lease() it stays until it is acknowledged.
        """
        if timeout is not None:
            check_timeout(timeout)
        got = self._take(timeout if block else 0)
        return self._loads(got) if isinstance(got, bytes) else self._read_long(got)

    def get_nowait(self) -> Any:
        """Take an object off the queue, or raise QueueEmpty at once. As get() otherwise."""
        return self.get(False)

    def qsize(self) -> int:
        """Return how many objects a receiver can have now."""
        return len(self._queue)

    def empty(self) -> bool:
        """Return whether a receiver can have none now; another process may change it."""
        return not len(self._queue)

    def full(self) -> bool:
        """Return whether there are max_messages objects. It may be out of pages before."""
        return self._queue._count()[0] == 0

    def task_done(self) -> None:
        """Say that an object that get() returned is finished.

        One of this thread's; if it has none unfinished, one of another thread, of any process.
        ValueError: there is none; called more often than get() returned.
        """
        if not self._queue._finish():
            raise ValueError(
                "task_done() called too many times: no object of get() is unfinished; call it "
                "once for each get()"
            )

    def join(self, timeout: float | None = None) -> None:
        """Wait until each object that was put is finished: task_done(), or a lease acknowledged.

        Dead objects count as finished, and so does what a thread had not finished when it ended or
        closed the queue, or its process died.

        Raises WaitTimeout: not in `timeout` seconds. Blocks: at most `timeout`; None: for ever.
        """
        self._queue._join(timeout)

    def join_thread(self) -> None:
        """Do nothing: put() has no thread that sends later."""

    def cancel_join_thread(self) -> None:
        """Do nothing: put() has no thread that sends later."""

    # -- leases, coroutines ---

    def lease(self, timeout: float | None = None) -> ObjectLease:
        """Lease the oldest object; wait until one comes. As SharedQueue.lease().

        `with queue.lease() as job: job.obj`. The end of the block acknowledges, an exception or
        the death of the process gives it back. task_done() is not for it.
        """
        return ObjectLease(self._queue.lease(timeout), self._load)

    async def aput(self, obj: Any, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """As put(), without holding up the loop; several take turns. Cancelled: nothing is put."""
        check_timeout(timeout)
        data, buffers = self._dump(obj)
        if timeout == 0 or not self._queue._others_wait(self._queue._out):
            try:
                return self._write(data, buffers, 0)
            except QueueFull:
                if timeout == 0:
                    raise
        self._queue._check_size(layout_for(data, buffers).size if buffers else len(data))
        return await self._queue._waited(_ROOM, partial(self._write, data, buffers, 0), timeout)

    async def aget(self, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """As get(), without holding up the loop; several take turns. Cancelled: none is taken."""
        check_timeout(timeout)
        if timeout == 0 or not self._queue._others_wait(self._queue._in):
            try:
                return self.get_nowait()
            except QueueEmpty:
                if timeout == 0:
                    raise
        got = await self._queue._waited(_MESSAGE, self._taken, timeout)
        return self._loads(got) if isinstance(got, bytes) else self._read_long(got)

    # -- as SharedQueue ---

    @property
    def name(self) -> str | None:
        """As SharedQueue.name."""
        return self._queue.name

    @property
    def trusted(self) -> bool:
        """Whether it holds pickles."""
        return self._pickles

    @property
    def max_messages(self) -> int:
        """Objects at a time."""
        return self._queue.max_messages

    @property
    def max_bytes(self) -> int:
        """Bytes of the objects over 192 bytes together: whole pages."""
        return self._queue.max_bytes

    @property
    def max_attempts(self) -> int | None:
        """Leases of an object until it is dead; None: no limit."""
        return self._queue.max_attempts

    @property
    def dead(self) -> DeadObjects:
        """The objects whose attempts are over. They keep their memory until they are removed."""
        return DeadObjects(self._queue, self._loads)

    def fileno(self) -> int:
        """As SharedQueue.fileno(): readable when there may be an object."""
        return self._queue.fileno()

    def statistics(self) -> SharedStatistics:
        """Return how it stands, in numbers; exact while no other process is at work."""
        return self._queue.statistics()

    def holders(self) -> list[LeaseHolder]:
        """Return the objects that are leased now, and by which threads."""
        return self._queue.holders()

    def verify(self) -> list[str]:
        """As SharedQueue.verify()."""
        return self._queue.verify()

    def close(self) -> None:
        """Let go of it in this process; the objects stay for the others. Again: nothing.

        What this thread has not finished is given up. What waits in this object gets MisuseError.
        """
        self._queue.close()

    def remove(self) -> None:
        """As SharedQueue.remove(): take the name away. NotFound, MisuseError."""
        self._queue.remove()

    def __len__(self) -> int:
        """Return what qsize() returns."""
        return len(self._queue)

    def __bool__(self) -> bool:
        """Be true, also when empty: `if queue` asks whether there is one."""
        return True

    def __repr__(self) -> str:
        """Say which one it is."""
        return repr(self._queue).replace("SharedQueue", type(self).__name__, 1)

    def __reduce__(self) -> tuple[Any, ...]:
        """Share it with a process that is being started; else by its name, or MisuseError."""
        return _over, (type(self), self._queue), additions(self, _OWN)

    @classmethod
    def _over(cls, queue: SharedQueue) -> Self:
        """Return the queue of objects that are in `queue`."""
        made = cls.__new__(cls)
        made._use(queue)
        return made

    def _use(self, queue: SharedQueue) -> None:
        self._queue = queue
        # What put() and get() call each time; no method of this object, which would be a circle.
        self._send, self._take = queue.send, queue._get
        self._pickles = queue._content == PICKLES
        self._dump = dump if self._pickles else dump_plain
        self._load = load if self._pickles else _plain_codec.load
        self._loads = loads if self._pickles else _plain_codec.load

    def _write(self, data: bytes, buffers: list[memoryview], timeout: float | None) -> None:
        if not buffers:
            return self._send(data, timeout)
        layout = layout_for(data, buffers)
        with self._queue.reserve(layout.size, timeout) as space:
            place = space.buffer
            place[: len(layout.head)] = layout.head
            place[layout.pickle] = data
            for (where, _), buffer in zip(layout.buffers, buffers, strict=True):
                place[where] = buffer
        return None

    def _taken(self) -> bytes | Lease:
        return self._take(0)

    def _read_long(self, got: Lease) -> Any:
        """Return the object of a long body, which is consumed."""
        with got.body as view:
            data, buffers = copied(view) if self._pickles else (bytes(view), [])
        got._consume()
        return pickle.loads(data, buffers=buffers) if self._pickles else self._loads(data)


def _check_content(queue: SharedQueue, trusted: bool) -> None:
    if queue._content == PICKLES and not trusted:
        raise MisuseError(
            f"open: the queue {queue.name!r} holds pickles, and to read one runs code of the "
            f"process that sent it; open(..., trusted=True) if you trust all that can write to it"
        )
    if queue._content not in (PICKLES, PLAIN):
        raise MisuseError(f"open: the queue {queue.name!r} holds bytes: use SharedQueue.open()")


def _over(cls: type[ObjectQueue], queue: SharedQueue) -> ObjectQueue:
    """Unpickle."""
    check_class(cls, ObjectQueue)
    return cls._over(queue)

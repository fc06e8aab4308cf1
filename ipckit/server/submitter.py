"""A worker's tasks: storing them in the ledger, hearing their ends, and telling who asked.

The ledger's words are the truth; this keeps only who of this process waits for which task.

Stands on ipckit.server.{ledger,wire}.
Invariants
  S1  an end is taken out of the ledger before it is told, and its record is freed after that: so
      it is told once, and once more by our successor if we die in between. That a callback begins
      is counted before it does, so an end that kills is found (K3 of task_keeper).
  S2  nothing here waits, but wait() for taskwait(), which hears ends and frames itself meanwhile.
  S3  while ends come in they are looked for once a turn of the loop, and nobody rings; a bell is
      asked for, and then looked once more, before this process waits for one. After it looked in
      vain it asks for a bell at once, some times.
  S4  an attempt to store that fails gives back the record that it took, which wakes every process
      that waits for room, its own too. So only the first attempt of a task is made without a look;
      a process that waits and is woken looks, which takes nothing and wakes nobody.
Crash     who waits here is lost with this process; the tasks are not, and their results go to the
          `finish` callback of our successor.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import select
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ipckit._core import _ledger
from ipckit.errors import IPCError, TaskFailed, TaskQueueFull, TaskTimeout
from ipckit.server.attempts import Failure
from ipckit.server.board import Row
from ipckit.server.inbox import RETRY_SECONDS
from ipckit.server.ledger import FILES, Job, TaskLedger
from ipckit.server.log import kind_of, limited, log
from ipckit.server.process import describe_exception
from ipckit.server.spill import body_name
from ipckit.server.task_load import what_is_full
from ipckit.server.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipckit.server.worker import Worker

__all__ = ["Outcome", "Submitter", "Wish"]

_YIELD_AFTER = 16
"""task_later gives the loop a turn after so many tasks, also while there is room."""

_ENDS_A_TURN = 256
"""Most ends told before the loop sees to its clients again."""


_AWAKE_NS = 30_000 if (os.cpu_count() or 1) > 1 else 0
"""After the last end it looks so long for the next one before it asks for a bell."""

_RESTS = 16
"""After it was awake in vain: then the tasks take longer, or no CPU is free to run them."""

_NO_ROOM_INSIDE = -2
"""Ledger.submit(): there is a record, but no blocks or slab for the body."""


class Outcome:
    """Who waits in taskwait(): filled when the task is over."""

    __slots__ = ("done", "error", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: TaskFailed | None = None


class Wish:
    """What a task asks for besides a task worker."""

    __slots__ = ("dedup_key", "delay", "ordering_key")

    def __init__(
        self, delay: float = 0, ordering_key: str | None = None, dedup_key: str | None = None
    ) -> None:
        self.delay = delay
        self.ordering_key = ordering_key
        self.dedup_key = dedup_key

    @classmethod
    def checked(cls, delay: float, ordering_key: str | None, dedup_key: str | None) -> Wish | None:
        """Return what the task asks for; None: nothing. Raises ValueError, TypeError."""
        number = isinstance(delay, int | float) and not isinstance(delay, bool)
        if not number or not 0 <= delay <= 10**9:
            raise ValueError(f"delay={delay!r}: must be a number of 0..10**9 seconds")
        for name, key in (("ordering_key", ordering_key), ("dedup_key", dedup_key)):
            if key is not None and not isinstance(key, str):
                raise TypeError(f"{name} must be a str or None, not {key!r}")
        if not delay and ordering_key is None and dedup_key is None:
            return None
        return cls(delay, ordering_key, dedup_key)


class _Nobody:
    """Waits for nothing: who asked gave up, and a late result is not told to anybody else."""


_NOBODY = _Nobody()


class Submitter:
    """All tasks of one worker. One thread, the loop's."""

    def __init__(self, worker: Worker, ledger: TaskLedger) -> None:
        self._worker = worker
        self.loop = worker.loop
        self._row = worker.row
        self._ledger = ledger
        self._view = ledger.view(worker.place)
        self._settings = worker.settings
        self._dump = ledger.dump
        self._read = ledger.read
        self._submit = self._view.submit
        self._post = self._view.post
        self._encode, self._protocol = ledger.encode
        self._view.watch_stop(worker.board.phase_word)
        self._waiters: dict[int, Any] = {}  # by task id
        self._waiting: deque[asyncio.Future[None]] = deque()  # for a record
        self._in_a_row = 0
        self._dropped = False
        self._looking = False  # _look_again is on its way
        self._rests = 0  # so many times it does not look for the next end without a bell
        self._heard = 0  # when the last end was told, ns of the monotonic clock
        self._left = False
        self.bell = ledger.bells[worker.place]

    @property
    def outstanding(self) -> int:
        """How many tasks of this worker are not over."""
        return self._view.outstanding()

    @property
    def awaited(self) -> bool:
        """Whether anybody of this process waits for one of them; the others' ends are for
        `finish`, here or in the successor.
        """
        return any(waiter is not _NOBODY for waiter in self._waiters.values())

    # -- posting ---

    def post(self, data: Any, dst: int, waiter: Any, wish: Wish | None = None) -> int:
        """Store a task; return its id.

        Raises TypeError (it cannot be pickled), TaskQueueFull, SystemCallError (it is large, and
        the disk is full); then nothing was stored.
        """
        body = self._dump(data)
        try:
            return self._store(body, dst, waiter, wish)
        except TaskQueueFull as error:
            self._count_refused(error.setting)
            raise

    def post_plainly(self, data: Any) -> int:
        """As post(), for the most common task: any task worker, and nobody of its own waits."""
        task_id = self._post(data, self._encode, self._protocol)
        if task_id.__class__ is int and task_id > 0:
            return task_id
        if task_id is None:  # dump() says which part of it cannot be sent
            return self.post(data, -1, None)
        if isinstance(task_id, bytes):
            try:
                return self._store(task_id, -1, None, None)
            except TaskQueueFull as error:
                self._count_refused(error.setting)
                raise
        full = self._full(records=task_id != _NO_ROOM_INSIDE)
        self._count_refused(full.setting)
        raise full

    def _store(self, body: bytes, dst: int, waiter: Any, wish: Wish | None) -> int:
        if self._worker.stopping:
            raise TaskQueueFull("the server is stopping: no task is begun any more")
        if wish is not None:
            return self._store_slowly(body, dst, waiter, wish)
        task_id = self._submit(body, dst, waiter is not None)
        if task_id == _NO_ROOM_INSIDE and len(body) > _ledger.INSIDE:
            return self._store_slowly(body, dst, waiter, Wish())
        if task_id < 0:
            raise self._full(records=task_id != _NO_ROOM_INSIDE)
        if waiter is not None:
            self._waiters[task_id] = waiter
        return task_id

    def _store_slowly(self, body: bytes, dst: int, waiter: Any, wish: Wish) -> int:
        """As submit(), for a task that is more than its body."""
        view = self._view
        taken = view.take()
        if taken is None:
            raise self._full(records=True)
        record, task_id = taken
        try:
            if wish.dedup_key is not None:
                other = view.dedup(record, *_hash_key(wish.dedup_key))
                if other < 0:
                    raise TaskQueueFull(
                        f"another process is storing a task with dedup_key={wish.dedup_key!r} and "
                        f"does not go on: try again"
                    )
                if other:
                    view.release(record)
                    return other
            self._put_body(record, task_id, body)
        except BaseException:
            view.end(record)
            self._ledger.spill.remove(body_name(task_id))
            view.clear(record)
            raise
        if waiter is not None:
            self._waiters[task_id] = waiter
            view.flag(record, _ledger.WANTED, 0)
        if wish.ordering_key is not None:
            view.order(record, _hash_key(wish.ordering_key)[0])
        due = time.monotonic_ns() + int(wish.delay * 1e9) if wish.delay else 0
        view.publish(record, dst, due)
        return task_id

    def _put_body(self, record: int, task_id: int, body: bytes) -> None:
        if self._view.put(record, body):
            return
        if len(body) <= _ledger.INSIDE or not self._view.spill_body(
            record, len(body), self._ledger.most_beside
        ):
            raise self._full(records=False)
        self._ledger.spill.write(body_name(task_id), body)

    def _full(self, *, records: bool) -> TaskQueueFull:
        setting = "task_queue_size" if records else "task_memory"
        return TaskQueueFull(
            f"{what_is_full(self._settings, setting)}: raise it, add task workers, or use "
            f"`await server.task_later()`, which waits for room",
            setting=setting,
        )

    def _count_refused(self, setting: str) -> None:
        if setting:
            self._row[Row.TASKS_REFUSED] += 1
            self._row[Row.REFUSED_FOR_MEMORY] += setting == "task_memory"
            self._row[Row.REFUSED_AT] = time.monotonic_ns()

    async def post_later(self, data: Any, dst: int, waiter: Any, wish: Wish | None = None) -> int:
        """As post(), but wait for a record, in order, and give the loop its turns."""
        body = self._dump(data)
        self._in_a_row += 1
        if self._in_a_row >= _YIELD_AFTER:
            self._in_a_row = 0
            await asyncio.sleep(0)
        first = True
        while True:
            if (not first or not self._waiting) and (
                task_id := self._try_store(body, dst, waiter, wish, again=not first)
            ):
                self._wake_one()
                return task_id
            future: asyncio.Future[None] = self.loop.create_future()
            if first:
                self._waiting.append(future)
            else:
                self._waiting.appendleft(future)  # others were faster; the turn stays ours
            first = False
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._wake_one()  # the turn goes to the next
                else:
                    self._waiting.remove(future)
                raise

    def _try_store(
        self, body: bytes, dst: int, waiter: Any, wish: Wish | None, *, again: bool
    ) -> int:
        """Return the id, 0 when there is no room; then the bell will ring. S4."""
        for looks in (again, True):
            if not looks or self._may_store(body):
                try:
                    return self._store(body, dst, waiter, wish)
                except TaskQueueFull:
                    if self._worker.stopping:
                        raise
            self._view.request_room()  # first the wish, then another look: no ring is missed
        return 0

    def _may_store(self, body: bytes) -> bool:
        """Whether an attempt is worth it: there is room, or it raises why not."""
        return self._worker.stopping or self._view.has_room(len(body), self._ledger.most_beside)

    def abandon(self, task_id: int) -> None:
        """Who waited for this task waits no longer; its result is told to nobody."""
        if task_id in self._waiters:
            self._waiters[task_id] = _NOBODY

    # -- waiting for results without the loop ---

    def wait(self, outcomes: list[Outcome], deadline: float) -> None:
        """Hear ends and frames until all outcomes are there or the time is over. S2."""
        poller = select.poll()
        inbox = self._worker.inbox
        poller.register(inbox.reading, select.POLLIN)
        poller.register(self.bell, select.POLLIN)
        while True:
            self._view.request_wakeup()
            self._worker.read_inbox(defer=True)
            self._tell_some(defer=True)
            left = deadline - time.monotonic()
            if left <= 0 or all(outcome.done for outcome in outcomes):
                return
            poller.modify(inbox.reading, 0 if inbox.blocked else select.POLLIN)
            wait_for(poller, min(left, RETRY_SECONDS if inbox.blocked else 1.0) * 1000 + 1)
            self._ledger.silence(self._worker.place)

    # -- hearing ---

    def rung(self) -> None:
        """A bell rang: tell what ended, and let who waits for room try again."""
        self._ledger.silence(self._worker.place)
        self._look()
        self._wake_one()

    def _look(self) -> None:
        """S3."""
        told = self._tell_some()
        now = time.monotonic_ns()
        if told:
            self._heard = now
            self._rests = max(0, self._rests - 1)
        elif now - self._heard > _AWAKE_NS and self._heard and not self._rests:
            self._rests = _RESTS
        if self._rests or now - self._heard > _AWAKE_NS:
            self._view.request_wakeup()
            if not self._tell_some():
                return
        if not self._looking:
            self._looking = True
            self.loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        self._looking = False
        self._look()

    def _tell_some(self, *, defer: bool = False) -> bool:
        """Tell what ended, at most a turn's worth; False: nothing did."""
        view, worker, waiters = self._view, self._worker, self._waiters
        if self._left or not view.collect(_ENDS_A_TURN):
            return False
        finish = None if defer else worker.callbacks.get("finish")
        server, read = worker.server, self._read
        worker.deferring = defer
        while True:
            try:
                end = view.deliver(finish, server, read, waiters)
            except BaseException:  # of the user's code, as what a type does when it is unpickled is
                self._finish_failed()
                continue
            if end is None:
                break
            try:
                self._go_on(*end)
            except Exception:  # the others that were taken out are still to be told
                limited.write(
                    logging.ERROR,
                    "the end of task %d could not be told",
                    end[2],
                    more=lambda: describe_exception()[1],
                )
        worker.deferring = False
        return True

    def _go_on(
        self, stage: int, record: int, task_id: int, flags: int, attempt: int, value: Any, size: int
    ) -> None:
        """Do the rest for an end that Ledger.deliver() left."""
        if stage == _ledger.UNTOLD:
            self._tell(record, task_id, flags, attempt, value, size)
        elif asyncio.iscoroutine(value):
            self._worker.go_on("finish", value, then=partial(self._view.release, record))
        else:
            self._view.release(record)

    def _finish_failed(self) -> None:
        """Write down what is being handled, of Ledger.deliver(): call it in an except clause."""
        record, task_id, attempt, *_ = cast("Job", self._view.in_hand())
        if self._view.unread():
            self._result_unreadable(record, task_id, attempt)
            return
        self._worker.callback_failed("finish")
        self._view.release(record)

    def _tell(
        self, record: int, task_id: int, flags: int, attempt: int, result: bytes | None, size: int
    ) -> None:
        """S1."""

        def close() -> None:
            self._close(record, task_id, flags, attempt)

        self._view.begin_delivery(record)
        waiter = self._waiters.pop(task_id, None)
        if flags & _ledger.LOST:
            self._tell_failed(waiter, task_id, attempt, close)
            return
        value = None
        if flags & _ledger.HAS_RESULT:
            try:
                value = self._ledger.load_result(task_id, attempt, result, size)
            except BaseException:  # what a type does when it is unpickled is the user's code
                if waiter is not None:
                    self._waiters[task_id] = waiter
                self._result_unreadable(record, task_id, attempt)
                return
        if isinstance(waiter, Outcome):
            waiter.done, waiter.value = True, value
        elif isinstance(waiter, asyncio.Future):
            if not waiter.done():
                waiter.set_result(value)
        elif waiter is not _NOBODY and flags & _ledger.HAS_RESULT:
            self._tell_result(waiter, task_id, value, close)
            return
        close()

    def _tell_result(
        self, callback: Any, task_id: int, value: Any, close: Callable[[], None]
    ) -> None:
        if callback is None:
            callback = self._worker.callbacks.get("finish")
            if callback is None:
                self._drop_result()
                close()
                return
        self._worker.emit_to(callback, "finish", task_id, value, then=close)

    def _drop_result(self) -> None:
        self._row[Row.RESULTS_DROPPED] += 1
        if not self._dropped:
            self._dropped = True
            log.warning("results are dropped: there is no `finish` callback (said once)")

    def _result_unreadable(self, record: int, task_id: int, attempt: int) -> None:
        failure = Failure(*describe_exception(), at=time.time())
        self._ledger.attempt_failed(self._view, self._row, record, task_id, attempt, failure)

    def _tell_failed(
        self, waiter: Any, task_id: int, attempts: int, close: Callable[[], None]
    ) -> None:
        failure = self._ledger.failure_of(task_id, attempts)
        error = TaskFailed(
            f"task {task_id} was given up after {attempts} attempts; the last one: {failure.error}",
            task_id=task_id,
            attempts=attempts,
            remote_traceback=failure.traceback,
        )
        limited.warning("%s", error, kind=f"given up: {kind_of(failure.error)}")
        if isinstance(waiter, Outcome):
            waiter.done, waiter.error = True, error
        elif isinstance(waiter, asyncio.Future):
            if not waiter.done():
                waiter.set_exception(error)
        elif (callback := self._worker.callbacks.get("task_failed")) is not None:
            self._worker.emit_to(callback, "task_failed", task_id, error, then=close)
            return
        close()

    def _close(self, record: int, task_id: int, flags: int, attempt: int) -> None:
        """It was told: free its record."""
        if not flags & FILES:
            self._view.release(record)
        elif self._view.end(record):
            self._ledger.remove_files(task_id, attempt)
            self._view.clear(record)

    # -- ends ---

    def stop(self) -> None:
        """The server ends: who waits hears it now, and does not hold up the end."""
        self.rung()
        for task_id, waiter in self._waiters.items():
            if isinstance(waiter, asyncio.Future) and not waiter.done():
                why = f"task {task_id} was not run to its end: the server stopped"
                waiter.set_exception(TaskFailed(why, task_id=task_id))
        with contextlib.suppress(IPCError):
            while self._waiting:
                self._wake_one()  # they find that the server stops

    def leave(self) -> None:
        """This process leaves and waits no longer: every end from now on is its successor's."""
        self._left = True
        self.loop.remove_reader(self.bell)

    def _wake_one(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return


def _hash_key(key: str) -> tuple[int, int]:
    """Return 128 bits that stand for a key, two numbers that are not both 0."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little") | 1, int.from_bytes(digest[8:], "little")


def timed_out(task_id: int, timeout: float) -> TaskTimeout:
    """Return the error for a result that did not come in time."""
    return TaskTimeout(
        f"task {task_id}: no result within {timeout:g} s; the task goes on, its result is dropped"
    )

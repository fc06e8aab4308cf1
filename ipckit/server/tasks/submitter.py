"""The tasks of a worker: stored in the ledger, or waiting for room in it.

Stands on ipckit.server.tasks.{ledger,results,options,admission,host}.
Invariants
  S4  An attempt to store that fails gives back the record that it took, and that wakes every
      process that waits for room, this one too. So only the first attempt of a task is made without
      checking for room. A process that waits and is woken checks first; a check takes nothing and
      wakes no process.
  S5  Nothing here waits, except post_later(), which waits on the loop and keeps the order.
Crash     The stored tasks are not lost with this process. A task that waits for room is.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Any

from ipckit._core import _ledger
from ipckit.errors import IPCError, TaskQueueFull, TaskTimeout
from ipckit.server.shared.scoreboard import Row
from ipckit.server.tasks.admission import what_is_full
from ipckit.server.tasks.host import SubmitterHost
from ipckit.server.tasks.ledger import TaskLedger
from ipckit.server.tasks.options import TaskOptions, hash_key
from ipckit.server.tasks.results import Results
from ipckit.server.tasks.spill import body_name

__all__ = ["Submitter", "timed_out"]

_YIELD_AFTER = 16
"""task_later gives the loop a turn after so many tasks, also while there is room."""

_NO_ROOM_INSIDE = -2
"""Ledger.submit(): there is a record, but no blocks or slab for the body."""


class Submitter:
    """The tasks of one worker. One thread, the loop's."""

    def __init__(self, host: SubmitterHost, ledger: TaskLedger) -> None:
        self._host = host
        self._place = host.place
        self.loop = host.loop
        self._row = host.row
        self._ledger = ledger
        self._view = ledger.view(host.place)
        self._settings = host.settings
        self._dump = ledger.dump
        self._submit = self._view.submit
        self._post = self._view.post
        self._encode, self._protocol = ledger.encode
        self._view.watch_stop(host.board.phase_word)
        self.results = Results(host, ledger, self._view)
        self._waiters = self.results.waiters
        self._waiting: deque[asyncio.Future[None]] = deque()  # for a record
        self._in_a_row = 0
        self.wakeup = ledger.wakeups[host.place]

    @property
    def outstanding(self) -> int:
        """How many tasks of this worker are not over."""
        return self._view.outstanding()

    # -- posting ---

    def post(self, data: Any, dst: int, waiter: Any, options: TaskOptions | None = None) -> int:
        """Store a task; return its id.

        Raises TypeError (it cannot be pickled), TaskQueueFull, SystemCallError (it is large, and
        the disk is full); then nothing was stored.
        """
        body = self._dump(data)
        try:
            return self._store(body, dst, waiter, options)
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

    def _store(self, body: bytes, dst: int, waiter: Any, options: TaskOptions | None) -> int:
        if self._host.stopping:
            raise TaskQueueFull("the server is stopping: no task is begun any more")
        if options is not None:
            return self._store_slowly(body, dst, waiter, options)
        task_id = self._submit(body, dst, waiter is not None)
        if task_id == _NO_ROOM_INSIDE and len(body) > _ledger.INSIDE:
            return self._store_slowly(body, dst, waiter, TaskOptions())
        if task_id < 0:
            raise self._full(records=task_id != _NO_ROOM_INSIDE)
        if waiter is not None:
            self._waiters[task_id] = waiter
        return task_id

    def _store_slowly(self, body: bytes, dst: int, waiter: Any, options: TaskOptions) -> int:
        """As submit(), for a task that is more than its body."""
        view = self._view
        taken = view.take()
        if taken is None:
            raise self._full(records=True)
        record, task_id = taken
        try:
            if options.dedup_key is not None:
                other = view.dedup(record, *hash_key(options.dedup_key))
                if other < 0:
                    raise TaskQueueFull(
                        f"another process is storing a task with dedup_key="
                        f"{options.dedup_key!r} and does not go on: try again"
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
        if options.ordering_key is not None:
            view.order(record, hash_key(options.ordering_key)[0])
        due = time.monotonic_ns() + int(options.delay * 1e9) if options.delay else 0
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

    async def post_later(
        self, data: Any, dst: int, waiter: Any, options: TaskOptions | None = None
    ) -> int:
        """As post(), but wait for a record, in order, and give the loop its turns."""
        body = self._dump(data)
        self._in_a_row += 1
        if self._in_a_row >= _YIELD_AFTER:
            self._in_a_row = 0
            await asyncio.sleep(0)
        first = True
        while True:
            if (not first or not self._waiting) and (
                task_id := self._try_store(body, dst, waiter, options, again=not first)
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
        self, body: bytes, dst: int, waiter: Any, options: TaskOptions | None, *, again: bool
    ) -> int:
        """Return the id, 0 when there is no room; then a wake-up will come. S4."""
        for looks in (again, True):
            if not looks or self._may_store(body):
                try:
                    return self._store(body, dst, waiter, options)
                except TaskQueueFull:
                    if self._host.stopping:
                        raise
            self._view.request_room()  # first the request, then another look: no wake-up is missed
        return 0

    def _may_store(self, body: bytes) -> bool:
        """Whether an attempt is worth it: there is room, or it raises why not."""
        return self._host.stopping or self._view.has_room(len(body), self._ledger.most_beside)

    # -- wake-ups, and the end ---

    def woken(self) -> None:
        """A wake-up came: deliver what ended, and let one that waits for room try again."""
        self._ledger.silence(self._place)
        self.results.poll()
        self._wake_one()

    def stop(self) -> None:
        """The server ends: what waits for a task or for room gets an error now."""
        self.woken()
        self.results.fail_futures()
        with contextlib.suppress(IPCError):
            while self._waiting:
                self._wake_one()  # it finds that the server stops

    def retire(self) -> None:
        """This process leaves and waits no longer: each result from now on is its successor's."""
        self.results.retire()
        self.loop.remove_reader(self.wakeup)

    def _wake_one(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return


def timed_out(task_id: int, timeout: float) -> TaskTimeout:
    """Return the error for a result that did not come in time."""
    return TaskTimeout(
        f"task {task_id}: no result within {timeout:g} s; the task goes on, its result is dropped"
    )

"""A worker's tasks: posting them, hearing of them, trying again, and telling who asked.

The taskbook decides (pure), the board's task words are the truth between processes, the road
carries messages. This is the hand between them.

Stands on ipckit.server.{taskbook,board,transport,wire}.
Invariants
  S1  a task's word leaves RUNNING by one step of the attempt it is at, and only who made that
      step tells anybody. So each end of an attempt is told once.
  S2  nothing here waits, but wait() for taskwait(), which reads the inbox itself meanwhile.
Crash     the memory of this process is lost with it: tasks it held are counted and logged, tasks
          under way are run, and their results go to its successor.
"""

from __future__ import annotations

import asyncio
import random
import select
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from ipckit.errors import TaskFailed, TaskQueueFull, TaskTimeout
from ipckit.server import wire
from ipckit.server.board import FROM_HELD, FROM_ORPHANED, FROM_RUNNING, Row, TaskState
from ipckit.server.log import log
from ipckit.server.process import describe_exception
from ipckit.server.taskbook import Failure, Stage, Task, Taskbook
from ipckit.server.transport import TaskTransport
from ipckit.server.wire import FOREIGN, FROM_OUTSIDE, HAS_VALUE, Head, Kind

if TYPE_CHECKING:
    from ipckit.server.worker import Worker

__all__ = ["Outcome", "Submitter"]

_YIELD_AFTER = 16
"""task_later gives the loop a turn after so many tasks, also while there is room."""


class Outcome:
    """Who waits in taskwait(): filled when the task is over."""

    __slots__ = ("done", "error", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: TaskFailed | None = None


class _Nobody:
    """Waits for nothing: who asked gave up, and a late result is not told to anybody else."""


_NOBODY = _Nobody()


class Submitter:
    """All tasks of one worker. One thread, the loop's."""

    def __init__(self, worker: Worker, road: TaskTransport) -> None:
        self._worker = worker
        self._loop = worker.loop
        self._board = worker.board
        self._row = worker.row
        self._road = road
        settings = worker.settings
        self._room = settings.task_queue_size
        self._book = Taskbook(settings.task_max_attempts, tuple(settings.task_retry_delays))
        self._blocked: set[int] = set()
        self._free: list[int] = []  # records we had: hints where to look first
        self._next_index = worker.slot * (self._room // max(1, settings.worker_num))
        self._waiting: deque[asyncio.Future[None]] = deque()  # for a record
        self._in_a_row = 0
        self._timer: asyncio.TimerHandle | None = None
        self._dropped = False

    @property
    def outstanding(self) -> int:
        """How many tasks are not over."""
        return len(self._book)

    # -- posting ---

    def post(self, data: Any, dst: int, waiter: Any) -> int:
        """Store a task and send it when there is room on the road; return its id.

        Raises TypeError (it cannot be pickled), TaskQueueFull; then nothing was stored.
        """
        return self._store(wire.dump(data), dst, waiter)

    def _store(self, body: bytes, dst: int, waiter: Any) -> int:
        worker = self._worker
        if worker.stopping:
            raise TaskQueueFull("the server is stopping: no task is begun any more")
        task_id = self._board.next_task_id()
        start = self._free.pop() if self._free else self._next_index
        index = self._board.take_task(start, task_id, worker.place, worker.place, self._room)
        if index < 0:
            raise TaskQueueFull(
                f"task_queue_size={self._room} tasks are queued or running: raise it, add task "
                f"workers, or use `await server.task_later()`, which waits for room"
            )
        self._next_index = index + 1
        self._row[Row.TASKS_POSTED] += 1
        lane = self._road.lane(dst)
        task = Task(task_id, index, body, dst, worker.slot, lane, time.monotonic(), waiter)
        self._book.add(task)
        if lane not in self._blocked:
            try:
                self._pump_lane(lane)
            except Exception:
                if task.stage == Stage.HELD:
                    self._forget(task)
                raise
        return task_id

    def _forget(self, task: Task) -> None:
        """Take back what was stored: the road refuses it, and who posts it hears so."""
        self._book.done(task.id)
        self._board.step(task.index, task.id, FROM_HELD, TaskState.FREE, self._worker.place)
        self._row[Row.TASKS_POSTED] -= 1

    async def post_later(self, data: Any, dst: int, waiter: Any) -> int:
        """As post(), but wait for a record, in order, and give the loop its turns."""
        body = wire.dump(data)
        self._in_a_row += 1
        if self._in_a_row >= _YIELD_AFTER:
            self._in_a_row = 0
            await asyncio.sleep(0)
        first = True
        while True:
            if (not first or not self._waiting) and (task_id := self._try_store(body, dst, waiter)):
                self._wake_one()
                return task_id
            future: asyncio.Future[None] = self._loop.create_future()
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

    def _try_store(self, body: bytes, dst: int, waiter: Any) -> int:
        """Return the id, 0 when there is no room; then somebody will ring."""
        for look in (1, 2):
            try:
                return self._store(body, dst, waiter)
            except TaskQueueFull:
                if self._worker.stopping:
                    raise
            if self._book:
                break  # a result of ours frees a record
            if look == 1:  # first the wish, then another look: no ring is missed
                self._board.want_room(self._row)
        return 0

    def abandon(self, task_id: int) -> None:
        """Who waited for this task waits no longer; its result is told to nobody."""
        task = self._book.get(task_id)
        if task is not None:
            task.waiter = _NOBODY

    # -- waiting for results without the loop ---

    def wait(self, outcomes: list[Outcome], deadline: float) -> None:
        """Read the inbox until all outcomes are there or the time is over. S2."""
        poller = select.poll()
        poller.register(self._worker.inbox.reading, select.POLLIN)
        while any(not outcome.done for outcome in outcomes):
            self._tend()
            now = time.monotonic()
            if now >= deadline:
                return
            due = self._book.next_due()
            until = min(deadline, due) if due is not None else deadline
            rooms = [fd for lane in self._blocked if (fd := self._road.room_fd(lane)) >= 0]
            for fd in rooms:
                poller.register(fd, select.POLLOUT)
            poller.poll(max(0.0, min(until - now, 1.0)) * 1000 + 1)
            for fd in rooms:
                poller.unregister(fd)
            self._worker.read_inbox(defer=True)

    # -- hearing ---

    def heard(self, head: Head, body: bytes) -> None:
        """Take a frame about tasks."""
        match head.kind:
            case Kind.RESULT:
                self._result(head, body)
            case Kind.FAILED:
                self._failed(head, body)
            case Kind.KEEP:
                self._keep(head, body)
            case Kind.DIED:
                self._died(head, body)
            case Kind.ROOM:
                self._wake_one()
                self._tend()

    def tick(self) -> None:
        """About once a second: what no frame told. Nothing should be left for it."""
        oldest = self._book.oldest()
        self._row[Row.OLDEST_TASK] = 0 if oldest is None else int(oldest * 1e9)
        self._wake_one()
        self._tend()

    def _result(self, head: Head, body: bytes) -> None:
        try:
            value = wire.load(body) if head.flags & HAS_VALUE else None
        except Exception:  # what a type does when it is unpickled is the user's code
            failure = Failure(*describe_exception())
            self._attempt_ended(head.record, head.ident, head.number, FROM_RUNNING, failure)
            return
        place = self._worker.place
        if not self._board.step_of_attempt(
            head.record, head.ident, head.number, FROM_RUNNING, TaskState.FREE, place
        ):
            return  # S1: it was told before
        task = self._over(head.ident, head.record)
        self._row[Row.TASKS_DONE] += 1
        if task is None and head.flags & FROM_OUTSIDE:
            return
        waiter = None if task is None else task.waiter
        if waiter is _NOBODY or (task is not None and task.source == FOREIGN):
            return
        if isinstance(waiter, Outcome):
            waiter.done, waiter.value = True, value
        elif isinstance(waiter, asyncio.Future):
            if not waiter.done():
                waiter.set_result(value)
        elif head.flags & HAS_VALUE:
            if waiter is not None:
                self._worker.emit_to(waiter, "a task's callback", head.ident, value)
            elif not self._worker.emit("finish", head.ident, value):
                self._drop_result()

    def _drop_result(self) -> None:
        self._row[Row.RESULTS_DROPPED] += 1
        if not self._dropped:
            self._dropped = True
            log.warning("results are dropped: there is no `finish` callback (said once)")

    def _failed(self, head: Head, body: bytes) -> None:
        error, trace = wire.load(body)
        self._attempt_ended(
            head.record, head.ident, head.number, FROM_RUNNING, Failure(error, trace)
        )

    def _attempt_ended(
        self, index: int, task_id: int, attempt: int, states: int, failure: Failure
    ) -> None:
        place = self._worker.place
        if not self._board.step_of_attempt(index, task_id, attempt, states, TaskState.HELD, place):
            return  # S1
        self._row[Row.TASKS_FAILED] += 1
        task = self._book.get(task_id)
        due = None
        if task is not None:
            jitter = random.uniform(-1, 1)
            due = self._book.failed(task, attempt, time.monotonic(), jitter)
        if due is not None:
            self._row[Row.TASKS_RETRIED] += 1
            self._set_timer()
            return
        # Its last attempt; or its submitter died and took the data along.
        self._board.step(index, task_id, FROM_HELD, TaskState.FREE, place)
        self._over(task_id, index)
        self._row[Row.TASKS_BURIED] += 1
        self._give_up(task_id, attempt, task, failure)

    def _give_up(self, task_id: int, attempts: int, task: Task | None, failure: Failure) -> None:
        error = TaskFailed(
            f"task {task_id} was given up after {attempts} attempts; the last one: {failure.error}",
            task_id=task_id,
            attempts=attempts,
            remote_traceback=failure.traceback,
        )
        log.warning("%s", error)
        waiter = None if task is None else task.waiter
        if isinstance(waiter, Outcome):
            waiter.done, waiter.error = True, error
        elif isinstance(waiter, asyncio.Future):
            if not waiter.done():
                waiter.set_exception(error)
        else:
            self._worker.emit("task_failed", task_id, error)

    def _keep(self, head: Head, body: bytes) -> None:
        self._row[Row.TASKS_POSTED] += 1
        lane = self._road.lane(-1)
        self._book.add_running(
            Task(head.ident, head.record, body, -1, FOREIGN, lane, time.monotonic())
        )

    def _died(self, head: Head, body: bytes) -> None:
        task_worker = head.sender // 2 - self._worker.settings.worker_num
        if task_worker >= 0:
            failure = Failure(body.decode())
            for task in self._book.sent():
                if task_worker in self._road.readers(task.dst):
                    self._look_after_death(task)
            for index, task_id, attempt in self._orphans(head):
                self._attempt_ended(index, task_id, attempt, FROM_ORPHANED, failure)
        self._tend()

    def _orphans(self, head: Head) -> list[tuple[int, int, int]]:
        """Return (record, task id, attempt) of our tasks that ran in the process that died.

        If the place was swept again since, by the death of a later process, results of that one
        may still be behind this frame; then the frame of the later death settles both.
        """
        found = []
        for index in self._board.tasks_in(TaskState.ORPHANED):
            word = self._board.look_at_task(index)
            if word.owner == head.sender and self._board.source(index) == self._worker.place:
                found.append((index, word.task_id, word.attempt))
        swept = self._board.row(head.sender // 2, head.sender % 2)[Row.SWEPT]
        return found if swept == head.incarnation else []

    def _look_after_death(self, task: Task) -> None:
        """Its message may have been taken and lost: waiting, with nothing under way."""
        if self._waits(task):
            self._book.send_again(task)

    # -- sending ---

    def _send(self, task: Task) -> bool:
        """First the message, then QUEUED: a death in between leaves HELD, which is swept."""
        if task.again and not self._waits(task):
            return True  # an earlier message has begun it
        head = Head(Kind.TASK, 0, task.source, self._worker.incarnation, task.id, task.index)
        if not self._road.send(head, task.body, task.dst):
            return False
        # A task worker may have begun it already; then this changes nothing.
        place = self._worker.place
        self._board.step(task.index, task.id, FROM_HELD, TaskState.QUEUED, place)
        return True

    def _waits(self, task: Task) -> bool:
        word = self._board.look_at_task(task.index)
        return word.task_id == task.id and word.state in (TaskState.HELD, TaskState.QUEUED)

    def _pump_lane(self, lane: int) -> None:
        if self._book.pump_lane(lane, self._send):
            return
        fd = self._road.room_fd(lane)
        if fd >= 0:
            self._blocked.add(lane)
            self._loop.add_writer(fd, self._room_on, lane)
            return
        self._board.want_room(self._row)  # first the wish, then another look: no ring is missed
        if not self._book.pump_lane(lane, self._send):
            self._blocked.add(lane)

    def _room_on(self, lane: int) -> None:
        fd = self._road.room_fd(lane)
        if fd >= 0 and lane in self._blocked:
            self._loop.remove_writer(fd)
        self._blocked.discard(lane)
        try:
            self._pump_lane(lane)
        except Exception:  # tasks keep their place; the next look is a second away, at the latest
            log.exception("worker %d: tasks wait, the road refuses them", self._worker.slot)

    def _tend(self) -> None:
        """Send what is due and what has room now."""
        self._book.wake_delayed(time.monotonic())
        for lane in self._book.lanes():
            self._room_on(lane)
        self._set_timer()

    def _set_timer(self) -> None:
        due = self._book.next_due()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self._tend)

    def stop(self) -> None:
        """The server ends: who waits hears it now, and does not hold up the end."""
        for task in self._book:
            if isinstance(task.waiter, asyncio.Future) and not task.waiter.done():
                why = f"task {task.id} was not run to its end: the server stopped"
                task.waiter.set_exception(TaskFailed(why, task_id=task.id))
        while self._waiting:
            self._wake_one()  # they find that the server stops

    # -- ends ---

    def _over(self, task_id: int, index: int) -> Task | None:
        """Forget a task whose record was just made FREE."""
        task = self._book.done(task_id)
        if len(self._free) < self._room:
            self._free.append(index)
        self._road.forget(task_id)
        self._wake_one()
        self._worker.ring_room()
        if self._blocked and self._road.room_fd(0) < 0:
            self._room_on(0)
        return task

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

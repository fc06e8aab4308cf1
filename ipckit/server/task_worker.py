"""A task worker: takes one task, runs it, sends the result, takes the next.

Two drivers share every step: a blocking one (poll, no event loop at all), and one on asyncio when
a callback that runs here is `async def`.

Stands on ipckit.server.{process,transport,board,wire}.
Invariants
  K1  one task at a time: nothing is taken from the road before the result of the last one is with
      its submitter. So a death costs one attempt of one task.
  K2  a foreign message is taken only with a record in hand, so a full ledger leaves it there.
  K3  the result is posted before the next claim; the word stays RUNNING until the submitter has
      it. If we die in between, the result still counts, because it was posted first.
Blocks    on the inbox of a submitter that does not read; a submitter never waits for us.
Crash     a foreign message taken but not yet RUNNING is lost with us: at most one.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import uvloop

from ipckit.errors import MisuseError
from ipckit.queue import php_format
from ipckit.server import wire
from ipckit.server.board import FROM_HELD, FROM_QUEUED, Row, TaskState
from ipckit.server.log import log
from ipckit.server.process import (
    EXIT_DONE,
    EXIT_RETIRED,
    LoopTimers,
    Process,
    describe_exception,
    loop_timer_ids,
)
from ipckit.server.transport import ForeignMessage, OwnMessage, QueueRoad, TaskTransport
from ipckit.server.wire import CLOSE_RESET, FOREIGN, FROM_OUTSIDE, HAS_VALUE, Head, Kind

if TYPE_CHECKING:
    from ipckit.server.runtime import Runtime
    from ipckit.server.server import Server

__all__ = ["CurrentTask", "TaskWorker"]

_ASYNC_EVENTS = ("task", "pipe_message", "worker_start", "worker_stop")
_LOOK_SECONDS = 1.0
"""How often the first task worker looks for messages of types nobody takes."""

_NO_RECORD_SECONDS = 0.05
"""How soon an idle task worker looks again for a record, so that it may take foreign tasks."""


class CurrentTask(NamedTuple):
    """What `server.current_task` tells."""

    task_id: int
    attempt: int
    src_worker_id: int
    deadline: float | None


class _Job(NamedTuple):
    """A claimed task: its word is RUNNING and ours."""

    task_id: int
    record: int
    attempt: int
    source: int
    incarnation: int
    body: bytes  # pickled


class TaskWorker(Process):
    """One task worker process."""

    taskworker = True

    def __init__(self, server: Server, runtime: Runtime, place: int, incarnation: int) -> None:
        super().__init__(server, runtime, place, incarnation)
        self.number = self.slot - self.settings.worker_num
        self.inbox = runtime.inboxes[place]
        self._road = cast("TaskTransport", runtime.road)
        self._road_fds = list(self._road.open_taking(self.number))
        self._task = self.callbacks.get("task")
        self._record: tuple[int, int] | None = None  # (index, task id), HELD, for a foreign task
        self._takes_foreign = isinstance(self._road, QueueRoad)
        self._next_look = time.monotonic() if self.number == 0 else float("inf")
        self.current: CurrentTask | None = None
        self._finished = False
        self._value: Any = None
        self._going = False
        self._messages: list[tuple[int, Any]] = []  # for the asyncio driver
        self._wake, wakeup = socket.socketpair()
        for end in (self._wake, wakeup):
            end.setblocking(False)
        self._wakeup = wakeup
        self._timers: _HeapTimers | LoopTimers = _HeapTimers(self.callback_failed)
        limit = self.settings.task_max_request
        grace = self.settings.request_grace(limit, self.settings.task_max_request_grace)
        self._tasks_left = limit + random.randint(0, grace) if limit else -1

    # -- life ---

    def run(self) -> int:
        """Serve until the end; return the exit code."""
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        try:
            if self.callbacks.any_async(*_ASYNC_EVENTS):
                return self._run_on_loop()
            return self._run_blocking()
        finally:
            signal.set_wakeup_fd(-1)
            self._road.close()

    def bell(self) -> None:
        """A signal came; the loop looks at the phase before it takes anything."""
        if not self.stopping:
            self._going = True

    def _leaves(self) -> bool:
        """Whether nothing more is taken."""
        return self._going or self._tasks_left == 0 or self.stopping

    def _end(self) -> int:
        """Give back what we hold, tell the manager; return the exit code."""
        if self._record is not None:
            index, task_id = self._record
            self.board.step(index, task_id, FROM_HELD, TaskState.FREE, self.place)
        if self.stopping:
            return EXIT_DONE
        self._tell(Kind.LEAVING, number=1)  # our successor may begin at once
        return EXIT_RETIRED

    # -- the blocking driver ---

    def _run_blocking(self) -> int:
        try:
            self._call_now("worker_start", self.slot)
        except Exception:
            return self.boot_failed()
        self.announce_ready()
        timers = cast("_HeapTimers", self._timers)
        poller = select.poll()
        for fd in (self.inbox.reading.fileno(), self._wake.fileno(), *self._road_fds):
            poller.register(fd, select.POLLIN)
        while not self._leaves():
            job = self._take()
            if job is not None:
                self._run_job(job)
                timers.fire()
                continue
            if self._leaves():
                break
            pause = timers.fire()
            self._road.prepare_wait(foreign=self._record is not None)
            for fd, _ in poller.poll(self._poll_ms(pause)):
                if fd == self._wake.fileno():
                    self._wake.recv(4096)
        code = self._end()
        try:
            self._call_now("worker_stop", self.slot)
        except Exception:
            self.callback_failed("worker_stop")
        return code

    def _call_now(self, event: str, *args: Any) -> None:
        callback = self.callbacks.get(event)
        if callback is not None:
            callback(self.server, *args)

    def _run_job(self, job: _Job) -> None:
        began = self._begin(job)
        try:
            returned = cast("Callable[..., Any]", self._task)(
                self.server, job.task_id, _source_id(job.source), wire.load(job.body)
            )
        except Exception:
            self._ended_badly(job, began)
        else:
            self._ended_well(job, began, returned)

    # -- the asyncio driver ---

    def _run_on_loop(self) -> int:
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        self._timers = LoopTimers(loop, self.callback_failed)
        try:
            return loop.run_until_complete(self._main(loop))
        finally:
            loop.close()

    async def _main(self, loop: asyncio.AbstractEventLoop) -> int:
        awake = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, self._bell_on_loop, awake)
        try:
            await self._call_later("worker_start", self.slot)
        except Exception:
            return self.boot_failed()
        for fd in (self.inbox.reading.fileno(), *self._road_fds):
            loop.add_reader(fd, awake.set)
        self.announce_ready()
        while not self._leaves():
            job = self._take()
            await self._pending_messages()
            if job is not None:
                await self._run_job_on_loop(job)
                await asyncio.sleep(0)  # timers and other coroutines have their turn
                continue
            awake.clear()
            self._road.prepare_wait(foreign=self._record is not None)
            try:
                await asyncio.wait_for(awake.wait(), self._poll_ms(None) / 1000)
            except TimeoutError:
                pass
        code = self._end()
        try:
            await self._call_later("worker_stop", self.slot)
        except Exception:
            self.callback_failed("worker_stop")
        return code

    def _bell_on_loop(self, awake: asyncio.Event) -> None:
        self.bell()
        awake.set()

    async def _call_later(self, event: str, *args: Any) -> None:
        callback = self.callbacks.get(event)
        if callback is not None:
            result = callback(self.server, *args)
            if asyncio.iscoroutine(result):
                await result

    async def _pending_messages(self) -> None:
        while self._messages:
            sender, message = self._messages.pop(0)
            try:
                await self._call_later("pipe_message", sender, message)
            except Exception:
                self.callback_failed("pipe_message")

    async def _run_job_on_loop(self, job: _Job) -> None:
        began = self._begin(job)
        try:
            returned = cast("Callable[..., Any]", self._task)(
                self.server, job.task_id, _source_id(job.source), wire.load(job.body)
            )
            if asyncio.iscoroutine(returned):
                returned = await returned
        except Exception:
            self._ended_badly(job, began)
        else:
            self._ended_well(job, began, returned)

    # -- taking ---

    def _take(self) -> _Job | None:
        """Take what is there until it is a task that we claimed; None: there is none now."""
        while True:
            frame = self.inbox.take()
            if frame is not None:
                job = self._hear(*frame)
            else:
                self._hold_record()
                message = self._look_for_unserved() or self._road.take(
                    foreign=self._record is not None
                )
                if message is None:
                    return None
                if self._takes_foreign:
                    self._ring_room()
                if isinstance(message, OwnMessage):
                    job = self._claim(message.head, message.body)
                else:
                    job = self._admit(message)
            if job is not None or self._leaves():
                return job

    def _hear(self, head: Head, body: bytes) -> _Job | None:
        if head.kind == Kind.TASK:
            return self._claim(head, body)
        if head.kind == Kind.MESSAGE:
            self._message(head.sender, body)
        return None

    def _message(self, sender: int, body: bytes) -> None:
        try:
            message = wire.load(body)
        except Exception:  # the user's code, as the callback is
            self.callback_failed("pipe_message")
            return
        if isinstance(self._timers, LoopTimers):
            self._messages.append((sender, message))
            return
        try:
            self._call_now("pipe_message", sender, message)
        except Exception:
            self.callback_failed("pipe_message")

    def _claim(self, head: Head, body: bytes) -> _Job | None:
        """Begin the attempt; None when another message of the task has begun it."""
        attempt = self.board.step(
            head.record, head.ident, FROM_HELD | FROM_QUEUED, TaskState.RUNNING, self.place
        )
        if attempt < 0:
            return None
        return _Job(head.ident, head.record, attempt, head.sender, head.incarnation, body)

    def _hold_record(self) -> None:
        """K2. Without one, only tasks of our own workers are taken."""
        if self._record is not None or not self._takes_foreign:
            return
        task_id = self.board.next_task_id()
        index = self.board.take_task(
            self.settings.task_queue_size, task_id, self.place, self.place, self.board.tasks
        )
        if index >= 0:
            self._record = (index, task_id)

    def _admit(self, message: ForeignMessage) -> _Job | None:
        """Turn a foreign message into a task, or refuse it."""
        why = message.refuse
        data = None
        if not why:
            try:
                data = php_format.loads(message.body)
            except ValueError as exc:
                why = f"it is not PHP's serialize text ({exc})"
        if why or self._record is None:
            self.count(Row.FOREIGN_REFUSED)
            log.warning(
                "a foreign message of type %d, %d bytes, was refused: %s",
                message.type,
                len(message.body),
                why,
            )
            return None
        (index, task_id), self._record = self._record, None
        keeper_slot = task_id % self.settings.worker_num
        keeper = 2 * keeper_slot + self.board.parity(keeper_slot)
        self.board.set_source(index, keeper)
        attempt = self.board.step(index, task_id, FROM_HELD, TaskState.RUNNING, self.place)
        incarnation = self.board.row(keeper_slot, keeper % 2)[Row.INCARNATION]
        head = Head(Kind.KEEP, FROM_OUTSIDE, self.place, incarnation, task_id, index, attempt)
        body = wire.dump(data)
        self._post(keeper, head, body)
        return _Job(task_id, index, attempt, FOREIGN, incarnation, body)

    def _look_for_unserved(self) -> ForeignMessage | None:
        now = time.monotonic()
        if now < self._next_look or not isinstance(self._road, QueueRoad):
            return None
        self._next_look = now + _LOOK_SECONDS
        return self._road.take_unserved()

    def _poll_ms(self, pause: float | None) -> float:
        """Return how long to wait at most, in ms."""
        wait = _LOOK_SECONDS if pause is None else min(pause, _LOOK_SECONDS)
        if self._takes_foreign and self._record is None:
            wait = min(wait, _NO_RECORD_SECONDS)
        return wait * 1000

    def _ring_room(self) -> None:
        for slot in self.board.take_room_wishes(self.settings.worker_num):
            self._post_soft(slot)

    def _post_soft(self, slot: int) -> None:
        # A full inbox needs no ring: its worker will be busy with frames, and looks for room then.
        self.runtime.inbox_of_slot(slot).post(Head(Kind.ROOM, sender=self.place))

    # -- an attempt ---

    def _begin(self, job: _Job) -> int:
        self.current = CurrentTask(job.task_id, job.attempt, _source_id(job.source), None)
        self._finished = False
        self._value = None
        began = time.monotonic_ns()
        self.row[Row.BUSY_SINCE] = began
        return began

    def finish(self, value: Any) -> None:
        """Take the result of the task in hand; raises MisuseError without one, or twice."""
        if self.current is None:
            raise MisuseError("finish() belongs inside the `task` callback")
        if self._finished:
            raise MisuseError(f"task {self.current.task_id} was finished already")
        self._value = wire.dump(value)
        self._finished = True

    def _ended_well(self, job: _Job, began: int, returned: Any) -> None:
        if returned is not None and not self._finished:
            try:
                self.finish(returned)
            except TypeError:
                self._ended_badly(job, began)
                return
        elif returned is not None:
            log.warning("task %d: finish() was called, its return value is dropped", job.task_id)
        flags = HAS_VALUE if self._finished else 0
        self._report(job, began, Kind.RESULT, flags, self._value if self._finished else b"")

    def _ended_badly(self, job: _Job, began: int) -> None:
        """Report what is being handled: call it in an except clause."""
        error, text = describe_exception()
        log.info("task %d, attempt %d failed: %s", job.task_id, job.attempt, error)
        self._report(job, began, Kind.FAILED, 0, wire.dump((error, text)))

    def _report(self, job: _Job, began: int, kind: Kind, flags: int, body: bytes) -> None:
        if job.source == FOREIGN:
            flags |= FROM_OUTSIDE
        head = Head(kind, flags, self.place, job.incarnation, job.task_id, job.record, job.attempt)
        self.current = None
        self.row[Row.BUSY_SINCE] = 0
        self.row[Row.TASK_NS] += time.monotonic_ns() - began
        self.row[Row.TASKS] += 1
        self._post(self.board.source(job.record), head, body)
        if self._tasks_left > 0:
            self._tasks_left -= 1

    def _post(self, place: int, head: Head, body: bytes) -> None:
        """Post to a worker, waiting for room. A place that nobody reads is made known."""
        inbox = self.runtime.inboxes[place]
        if not inbox.post(head, body):
            poller = select.poll()
            poller.register(inbox.writing, select.POLLOUT)
            while not inbox.post(head, body):
                poller.poll(1000)
        row = self.board.row(place // 2, place % 2)
        if not row[Row.READS]:
            self.runtime.inboxes[place ^ 1].post(Head(Kind.DRAIN, sender=self.place))

    # -- what server.* does here ---

    def send(self, session: int, data: bytes) -> bool:
        """Send to a session of any worker; False: there is none."""
        owner = self.board.session_owner(session)
        if owner < 0:
            return False
        self._post(owner, Head(Kind.SEND, sender=self.slot, ident=session), data)
        return True

    def close_session(self, session: int, *, reset: bool) -> bool:
        """Close a session of any worker; False: there is none."""
        owner = self.board.session_owner(session)
        if owner < 0:
            return False
        flags = CLOSE_RESET if reset else 0
        self._post(owner, Head(Kind.CLOSE, flags, self.slot, ident=session), b"")
        return True

    def after(
        self, seconds: float, callback: Callable[..., Any], args: tuple[Any, ...], *, every: bool
    ) -> int:
        """Set a timer; it runs between two tasks."""
        return self._timers.set(seconds, callback, args, every=every)

    def clear_timer(self, timer: int) -> bool:
        """Drop a timer; False: there is none."""
        return self._timers.clear(timer)


class _HeapTimers:
    """tick() and after() without a loop: fired between two tasks."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._heap: list[tuple[float, int]] = []
        self._live: dict[int, tuple[float, Callable[..., Any], tuple[Any, ...]]] = {}
        self._next_id = loop_timer_ids()

    def set(
        self, seconds: float, callback: Callable[..., Any], args: tuple[Any, ...], *, every: bool
    ) -> int:
        """Call after `seconds`, once or each time anew; return the id."""
        timer = self._next_id()
        self._live[timer] = (seconds if every else 0, callback, args)
        heapq.heappush(self._heap, (time.monotonic() + seconds, timer))
        return timer

    def clear(self, timer: int) -> bool:
        """Drop it; False: there is none."""
        return self._live.pop(timer, None) is not None

    def fire(self) -> float | None:
        """Call what is due; return the seconds to the next one, None: there is none."""
        while self._heap:
            due, timer = self._heap[0]
            now = time.monotonic()
            if due > now:
                return due - now
            heapq.heappop(self._heap)
            entry = self._live.get(timer)
            if entry is None:
                continue
            period, callback, args = entry
            if period:
                missed = int((now - due) / period)
                heapq.heappush(self._heap, (due + (missed + 1) * period, timer))
            else:
                del self._live[timer]
            try:
                callback(*args)
            except Exception:
                self._failed("a timer's callback")
        return None


def _source_id(source: int) -> int:
    return -1 if source == FOREIGN else source

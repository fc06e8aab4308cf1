"""A task worker: claims one task, runs it, writes its end into the ledger, claims the next.

Two drivers share every step: a blocking one (poll, no event loop at all), and one on asyncio when
a callback that runs here is `async def`.

Stands on ipckit.server.{process,ledger,foreign,board,wire}.
Invariants
  K1  one task at a time: the next is claimed when the end of the last one is written. So a death
      costs one attempt of one task.
  K2  a foreign message is taken only with a record in hand, so a full ledger leaves it there.
  K3  before it waits it says that it sleeps, and looks once more: no bell is missed.
Blocks    never for another process, but in send() and close() for a worker that does not read.
Crash     the task in hand is tried again, by the manager's sweep.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import random
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import uvloop

from ipckit._core import _ledger
from ipckit.errors import IPCError, MisuseError, ProtocolError
from ipckit.queue import Message
from ipckit.server import wire
from ipckit.server.attempts import Failure
from ipckit.server.board import Row
from ipckit.server.foreign import ForeignTaker
from ipckit.server.ledger import TaskLedger
from ipckit.server.limit import TimeLimit
from ipckit.server.log import log
from ipckit.server.process import (
    EXIT_DONE,
    EXIT_RETIRED,
    LoopTimers,
    Process,
    describe_exception,
    loop_timer_ids,
)
from ipckit.server.spill import body_name
from ipckit.server.wire import CLOSE_RESET, Head, Kind

if TYPE_CHECKING:
    from ipckit.server.runtime import Runtime
    from ipckit.server.server import Server

__all__ = ["CurrentTask", "TaskWorker"]

_ASYNC_EVENTS = ("task", "pipe_message", "worker_start", "worker_stop")
_LOOK_SECONDS = 1.0
"""How long a sleep lasts at most; and how often the first task worker looks for messages of types
nobody takes."""

_FOREIGN_EVERY = 16
"""So many tasks of our own are taken before one look for a foreign one."""

_SPIN_NS = 30_000 if (os.cpu_count() or 1) > 1 else 0
"""How long a task worker that has just been busy looks for more before it sleeps."""


class CurrentTask(NamedTuple):
    """What `server.current_task` tells."""

    task_id: int
    attempt: int
    src_worker_id: int
    deadline: float | None


class _Job(NamedTuple):
    """A claimed task: its word is RUNNING and ours."""

    record: int
    task_id: int
    attempt: int
    source: int
    flags: int
    body: bytes | None  # None: in a file
    size: int


class TaskWorker(Process):
    """One task worker process."""

    taskworker = True

    def __init__(self, server: Server, runtime: Runtime, place: int, incarnation: int) -> None:
        super().__init__(server, runtime, place, incarnation)
        self.number = self.slot - self.settings.worker_num
        self.inbox = runtime.inboxes[place]
        self._ledger = cast("TaskLedger", runtime.ledger)
        self._view = self._ledger.view(place)
        self._bell = self._ledger.bells[place]
        foreign = runtime.foreign
        self._foreign = foreign
        self._taker = None if foreign is None else ForeignTaker(foreign, self.number)
        self._own_tasks = 0  # since the last look for foreign ones
        self._busy = False  # since the last sleep
        self._task = self.callbacks.get("task")
        unserved = foreign is not None and self.number == 0
        self._next_look = time.monotonic() if unserved else float("inf")
        self.current: CurrentTask | None = None
        self._finished = False
        self._limit = TimeLimit(self.settings.task_timeout)
        self._value = b""
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
            if self._taker is not None:
                self._taker.close()

    def bell(self) -> None:
        """A signal came; the loop looks at the phase before it takes anything."""
        if not self.stopping:
            self._going = True

    def _leaves(self) -> bool:
        """Whether nothing more is taken."""
        return self._going or self._tasks_left == 0 or self.stopping

    def _end(self) -> int:
        """Hand on what we were rung for, tell the manager; return the exit code."""
        self._view.pass_on()
        if self.stopping:
            return EXIT_DONE
        self._tell(Kind.LEAVING, number=1)  # our successor may begin at once
        return EXIT_RETIRED

    def _filenos(self) -> list[int]:
        taker = self._taker
        return [
            self.inbox.reading.fileno(),
            self._bell,
            *([] if taker is None else taker.filenos()),
        ]

    # -- the blocking driver ---

    def _run_blocking(self) -> int:
        try:
            self._call_now("worker_start", self.slot)
        except Exception:
            return self.boot_failed()
        self.announce_ready()
        timers = cast("_HeapTimers", self._timers)
        poller = select.poll()
        for fd in (self._wake.fileno(), *self._filenos()):
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
            if self._falls_asleep():
                for fd, _ in poller.poll(self._poll_ms(pause)):
                    if fd == self._wake.fileno():
                        self._wake.recv(4096)
            self._wakes_up()
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
            data = self._load(job)
        except Exception as exc:
            self._ended_badly(job, began, hopeless=isinstance(exc, ProtocolError))
            return
        try:
            with self._limit.running():
                returned = cast("Callable[..., Any]", self._task)(
                    self.server, job.task_id, _source_id(job), data
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
        for fd in self._filenos():
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
            if self._falls_asleep():
                try:
                    await asyncio.wait_for(awake.wait(), self._poll_ms(None) / 1000)
                except TimeoutError:
                    pass
            self._wakes_up()
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
            data = self._load(job)
        except Exception as exc:
            self._ended_badly(job, began, hopeless=isinstance(exc, ProtocolError))
            return
        try:
            with self._limit.running(soft=False):
                returned = cast("Callable[..., Any]", self._task)(
                    self.server, job.task_id, _source_id(job), data
                )
                if asyncio.iscoroutine(returned):
                    returned = await self._in_time(returned)
        except Exception:
            self._ended_badly(job, began)
        else:
            self._ended_well(job, began, returned)

    async def _in_time(self, coroutine: Any) -> Any:
        limit = asyncio.timeout(self._limit.seconds)
        try:
            async with limit:
                return await coroutine
        except TimeoutError:
            if limit.expired():
                raise self._limit.error() from None
            raise

    # -- sleeping ---

    def _falls_asleep(self) -> bool:
        """K3. False: there is something to take."""
        if self._busy and _SPIN_NS and self._view.spin(_SPIN_NS):
            return False
        self._busy = False
        if not self._view.sleep():
            return False
        return self._taker is None or not self._wait_for_foreign(self._taker)

    def _wait_for_foreign(self, taker: ForeignTaker) -> bool:
        """Arm the relays, unless there is no record: then a bell will say when. True: look now."""
        probe = self._view.take()
        if probe is None:
            self._view.wish_room()
            probe = self._view.take()
        if probe is None:
            taker.rest()
            return False
        self._view.release(probe[0])
        return taker.prepare_wait()

    def _wakes_up(self) -> None:
        self._view.wake()
        self._ledger.silence(self.place)

    def _poll_ms(self, pause: float | None) -> float:
        """Return how long to wait at most, in ms."""
        return (_LOOK_SECONDS if pause is None else min(pause, _LOOK_SECONDS)) * 1000

    # -- taking ---

    def _take(self) -> _Job | None:
        """Take what is there until it is a task that we claimed; None: there is none now."""
        while (frame := self.inbox.take()) is not None:
            head, body = frame
            if head.kind == Kind.MESSAGE:
                self._message(head.sender, body)
            if self._leaves():
                return None
        self._look_for_unserved()
        if self._taker is not None and self._own_tasks >= _FOREIGN_EVERY:
            self._own_tasks = 0
            job = self._take_foreign(self._taker)
            if job is not None:
                return job
        claimed = self._view.claim()
        if claimed is not None:
            self._own_tasks += 1
            return _Job._make(claimed)
        return None if self._taker is None else self._take_foreign(self._taker)

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

    def _take_foreign(self, taker: ForeignTaker) -> _Job | None:
        """K2. Take messages until one is a task; None: there is none, or no record for it."""
        while not self._leaves():
            taken = self._view.take()
            if taken is None:
                return None
            message = taker.take()
            job = None if message is None else self._admit(*taken, message)
            if job is not None:
                return job
            self._view.release(taken[0])
            if message is None:
                return None
        return None

    def _admit(self, record: int, task_id: int, message: Message) -> _Job | None:
        """Enter a message in the ledger and begin it; None: it was refused."""
        foreign = self._foreign
        refused = foreign.refuse(message) if foreign is not None else None
        if refused is not None:
            self._refuse(*refused)
            return None
        body, flags = message.body, _ledger.FOREIGN
        self._view.flag(record, flags, 0)
        if len(body) > _ledger.INSIDE or not self._view.put(record, body):
            try:
                self._ledger.spill.write(body_name(task_id), body)
            except IPCError as exc:
                self._refuse(message.type, len(body), str(exc))
                return None
            self._view.beside(record, len(body), 1 << 62)
            flags |= _ledger.BODY_BESIDE
        dst = -1 if foreign is None else foreign.dst_of(message.type)
        slot = task_id % self.settings.worker_num  # who hears if it is given up
        attempt = self._view.begin(record, dst, 2 * slot + self.board.parity(slot))
        return _Job(record, task_id, attempt, -1, flags, body, len(body))

    def _refuse(self, kind: int, size: int, why: str) -> None:
        self.count(Row.FOREIGN_REFUSED)
        log.warning("a foreign message of type %d, %d bytes, was refused: %s", kind, size, why)

    def _look_for_unserved(self) -> None:
        now = time.monotonic()
        if now < self._next_look or self._foreign is None:
            return
        self._next_look = now + _LOOK_SECONDS
        while (message := self._foreign.take_unserved()) is not None:
            refused = self._foreign.refuse(message)
            if refused is not None:
                self._refuse(*refused)

    # -- an attempt ---

    def _begin(self, job: _Job) -> int:
        deadline = self._limit.deadline()
        self.current = CurrentTask(job.task_id, job.attempt, _source_id(job), deadline)
        self._busy = True
        self._finished = False
        began = time.monotonic_ns()
        self.row[Row.BUSY_SINCE] = began
        return began

    def _load(self, job: _Job) -> Any:
        return self._ledger.load(job.flags, job.task_id, job.body, job.size)

    def finish(self, value: Any) -> None:
        """Take the result of the task in hand; raises MisuseError without one, or twice."""
        if self.current is None:
            raise MisuseError("finish() belongs inside the `task` callback")
        if self._finished:
            raise MisuseError(f"task {self.current.task_id} was finished already")
        self._value = self._ledger.dump(value)
        self._finished = True

    def _ended_well(self, job: _Job, began: int, returned: Any) -> None:
        try:
            if returned is not None and not self._finished:
                self.finish(returned)
            elif returned is not None:
                log.warning(
                    "task %d: finish() was called, its return value is dropped", job.task_id
                )
            if self._finished and not job.flags & _ledger.FOREIGN:
                self._ledger.put_result(
                    self._view, job.record, job.task_id, job.attempt, self._value
                )
        except (TypeError, IPCError):  # it cannot be pickled, or kept
            self._ended_badly(job, began)
            return
        self._count_attempt(began)
        left = self._view.done(job.record)
        if left == 1:
            self._ledger.remove_files(job.task_id, job.attempt)
            self._view.clear(job.record)
        elif left < 0:
            self._late(job)

    def _ended_badly(self, job: _Job, began: int, *, hopeless: bool = False) -> None:
        """Write down what is being handled: call it in an except clause."""
        failure = Failure(*describe_exception(), at=time.time())
        log.info("task %d, attempt %d failed: %s", job.task_id, job.attempt, failure.error)
        self._count_attempt(began)
        if not self._ledger.attempt_failed(
            self._view,
            self.row,
            job.record,
            job.task_id,
            job.attempt,
            failure,
            hopeless=hopeless,
        ):
            self._late(job)

    def _late(self, job: _Job) -> None:
        """The attempt was taken from us: its end is dropped."""
        self.row[Row.RESULTS_DROPPED] += 1
        log.warning("task %d, attempt %d ended too late: dropped", job.task_id, job.attempt)

    def _count_attempt(self, began: int) -> None:
        self.current = None
        self.row[Row.BUSY_SINCE] = 0
        self.row[Row.TASK_NS] += time.monotonic_ns() - began
        self.row[Row.TASKS] += 1
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


def _source_id(job: _Job) -> int:
    return -1 if job.flags & _ledger.FOREIGN else job.source

"""A task worker: claims one task, runs it, writes its end into the ledger, claims the next.

Two drivers share every step: a blocking one (poll, no event loop at all), and one on asyncio when
a callback that runs here is `async def`.

Stands on ipckit.server.processes.process, ipckit.server.tasks.{ledger,external_queue},
          ipckit.server.shared.scoreboard, ipckit.server.messaging.wire.
Invariants
  K1  It runs one task at a time, and claims the next when the end of the last one is written. So a
      death costs one attempt of one task.
  K2  It takes a foreign message only when it has a record for it. So a full ledger leaves the
      message in its queue.
  K3  Before it sleeps it says so in the ledger, and looks for tasks once more. So it misses no
      wake-up.
  K4  It checks the phase of the server, and whether the manager wants it to leave, between two
      turns, and once in CHECK_SECONDS while it sleeps: a program may have taken its SIGTERM away.
  K5  While tasks of the ledger keep it busy, it looks at its inbox and for foreign messages once in
      _TURN_NS, and immediately after a foreign task: a look that finds nothing costs as much as a
      task.
Blocks    never for another process, but in send() and close() for a worker that does not read.
Crash     the task in hand is tried again, by the manager's sweep.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import uvloop

from ipckit import _pickle_codec as pickle_codec
from ipckit._core import _ledger
from ipckit.errors import IPCError
from ipckit.queue import Message
from ipckit.server.log import kind_of, limited
from ipckit.server.messaging.inbox import RETRY_SECONDS
from ipckit.server.messaging.inbox_reader import InboxReader
from ipckit.server.messaging.wire import Head, Kind
from ipckit.server.processes.process import CHECK_SECONDS, Process, report_on
from ipckit.server.processes.timers import HeapTimers, LoopTimers, log_dropped
from ipckit.server.shared.exit_codes import EXIT_DONE, EXIT_RETIRED
from ipckit.server.shared.scoreboard import Phase, Row
from ipckit.server.system.fork import fill_standard_descriptors
from ipckit.server.system.poll import wait_for
from ipckit.server.system.signals import note_term_handler
from ipckit.server.tasks.external_queue import ForeignTaker
from ipckit.server.tasks.ledger import Job, TaskLedger
from ipckit.server.tasks.runner import CurrentTask, TaskRunner
from ipckit.server.tasks.spill import body_name

if TYPE_CHECKING:
    from ipckit.server.processes.runtime import Runtime
    from ipckit.server.processes.server_handle import ServerHandle

__all__ = ["TaskWorker"]

_ASYNC_EVENTS = ("task", "pipe_message", "worker_start", "worker_exit", "worker_stop")
_TASKS_A_TURN = 16
_TURN_NS = 1_000_000
"""So many tasks are run, and none is begun after this time, before a look at frames, timers and
foreign messages."""

_SPIN_NS = 60_000 if (os.cpu_count() or 1) > 1 else 0
"""How long a task worker that has just been busy looks for more before it sleeps: about as long as
a worker that sleeps takes to wake (decision 20)."""


class TaskWorker(Process):
    """One task worker process."""

    taskworker = True
    role = "task worker"

    def __init__(
        self, server: ServerHandle, runtime: Runtime, place: int, incarnation: int
    ) -> None:
        super().__init__(server, runtime, place, incarnation)
        self.number = self.slot - self.settings.worker_num
        self.inbox = runtime.inboxes[place]
        self.connections = {}
        self._ledger = cast("TaskLedger", runtime.ledger)
        self._view = self._ledger.view(place)
        self._task_wakeup = self._ledger.wakeups[place]
        foreign = runtime.foreign
        self._foreign = foreign
        self._taker = None if foreign is None else ForeignTaker(foreign, self.number)
        self._busy = False  # since the last sleep
        self._check_from = 0  # ns of time.monotonic_ns(); K5
        unserved = foreign is not None and self.number == 0
        self._next_check = time.monotonic() if unserved else float("inf")
        self._runner = TaskRunner(self, self._ledger, self._view)
        self._going = False
        self._phase = self.board.phase_word
        self._messages: list[tuple[int, Any]] = []  # for the asyncio driver
        self._wake, wakeup = socket.socketpair()
        for end in (self._wake, wakeup):
            end.setblocking(False)
        self._wakeup = wakeup
        self._timers: HeapTimers | LoopTimers = HeapTimers(self.callback_failed)

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

    def woken(self) -> None:
        """A signal came; the loop looks at the phase before it takes anything."""
        self._runner.interrupted = True
        if not self.stopping:
            self._going = True

    def _leaves(self) -> bool:
        """Whether nothing more is taken. Asked three times a turn, so without the properties
        `stopping` and `asked_to_leave`, which say the same.
        """
        return (
            self._going
            or self._runner.left == 0
            or self._phase[0] != Phase.SERVING
            or self.row[Row.LEAVE] == self.incarnation
        )

    def _end(self) -> int:
        """Pass on what this process was woken for, tell the manager; return the exit code."""
        self._view.pass_on()
        if self.stopping:
            return EXIT_DONE
        self._post_to_manager(Kind.LEAVING, number=1)  # our successor may begin at once
        return EXIT_RETIRED

    def _filenos(self) -> list[int]:
        taker = self._taker
        return [self._task_wakeup, *([] if taker is None else taker.filenos())]

    # -- the blocking driver ---

    def _run_blocking(self) -> int:
        try:
            self._call_now("worker_start", self.slot)
        except BaseException:
            return self.boot_failed()
        fill_standard_descriptors()
        self.announce_ready()
        timers = cast("HeapTimers", self._timers)
        poller = select.poll()
        inbox = self.inbox.reading.fileno()
        for fd in (self._wake.fileno(), inbox, *self._filenos()):
            poller.register(fd, select.POLLIN)
        listens = True
        while not self._leaves():
            ran = self._run_some()
            pause = timers.fire()
            limited.flush_due()
            if ran:
                continue
            if self._leaves():
                break
            if self._busy and self._finds_more():
                continue
            if self._falls_asleep():
                if self.inbox.blocked == listens:
                    listens = not listens
                    poller.modify(inbox, select.POLLIN if listens else 0)
                for fd, _ in wait_for(poller, self._poll_ms(pause)):
                    if fd == self._wake.fileno():
                        self._wake.recv(4096)
            self._wakes_up()
        code = self._end()
        for event in ("worker_exit", "worker_stop"):
            try:
                self._call_now(event, self.slot)
            except BaseException:
                self.callback_failed(event)
        log_dropped(self.name, self._timers.drop_all(), self._timers.running)
        return code

    def _call_now(self, event: str, *args: Any) -> None:
        callback = self.callbacks.get(event)
        if callback is not None:
            callback(self.server, *args)

    def _run_some(self) -> bool:
        """Run what is there, for a turn; False: there was nothing."""
        now = time.monotonic_ns()
        ran = False
        if now >= self._check_from:
            job = self._take_elsewhere()
            if self._leaves():
                return False
            if job is None:
                self._check_from = now + _TURN_NS
            else:
                self._runner.run(job)
                ran = True
                now = time.monotonic_ns()
        ran |= self._runner.run_claimed(_TASKS_A_TURN, now + _TURN_NS)
        self._runner.interrupted = False
        self._busy |= ran
        return ran

    # -- the asyncio driver ---

    def _run_on_loop(self) -> int:
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        report_on(loop)
        self._timers = LoopTimers(loop, self.callback_failed)
        try:
            return loop.run_until_complete(self._main(loop))
        finally:
            loop.close()

    async def _main(self, loop: asyncio.AbstractEventLoop) -> int:
        awake = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, self._woken_on_loop, awake)
        note_term_handler()
        try:
            await self._call_later("worker_start", self.slot)
        except BaseException:
            return self.boot_failed()
        fill_standard_descriptors()
        reader = InboxReader(loop, self.inbox, awake.set)
        for fd in self._filenos():
            loop.add_reader(fd, awake.set)
        self.announce_ready()
        while not self._leaves():
            job = self._take_elsewhere()
            reader.pause_if_blocked()
            await self._pending_messages()
            if job is None and not self._leaves():
                job = self._view.claim()
            if job is not None:
                self._busy = True
                await self._runner.run_on_loop(job)
                await asyncio.sleep(0)  # timers and other coroutines have their turn
                continue
            if self._busy and self._finds_more():
                continue
            awake.clear()
            if self._falls_asleep():
                try:
                    await asyncio.wait_for(awake.wait(), self._poll_ms(None) / 1000)
                except TimeoutError:
                    pass
            self._wakes_up()
        code = self._end()
        for event in ("worker_exit", "worker_stop"):
            try:
                await self._call_later(event, self.slot)
            except BaseException:
                self.callback_failed(event)
        log_dropped(self.name, self._timers.drop_all(), self._timers.running)
        return code

    def _woken_on_loop(self, awake: asyncio.Event) -> None:
        self.woken()
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
            except BaseException:
                self.callback_failed("pipe_message")

    # -- sleeping ---

    def _finds_more(self) -> bool:
        """Whether a task of the ledger comes soon."""
        return bool(_SPIN_NS and self._view.spin(_SPIN_NS))

    def _falls_asleep(self) -> bool:
        """K3. False: there is something to take."""
        self._busy = False
        self._check_from = 0
        if not self._view.sleep():
            return False
        return self._taker is None or not self._wait_for_foreign(self._taker)

    def _wait_for_foreign(self, taker: ForeignTaker) -> bool:
        """Arm the relays, unless there is no record: then a wake-up comes when there is one.

        True: look now.
        """
        probe = self._view.take()
        if probe is None:
            self._view.request_room()
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
        most = RETRY_SECONDS if self.inbox.blocked else CHECK_SECONDS
        return (most if pause is None else min(pause, most)) * 1000

    # -- taking ---

    def _take_elsewhere(self) -> Job | None:
        """Read the frames that are there, and take a foreign task; None: there is none."""
        while (frame := self.inbox.take()) is not None:
            head, body = frame
            if head.kind == Kind.MESSAGE:
                self._message(head.sender, body)
            if self._leaves():
                return None
        self._check_unserved()
        return None if self._taker is None else self._take_foreign(self._taker)

    def _message(self, sender: int, body: bytes) -> None:
        try:
            message = pickle_codec.load(body)
        except BaseException:  # the user's code, as the callback is
            self.callback_failed("pipe_message")
            return
        if isinstance(self._timers, LoopTimers):
            self._messages.append((sender, message))
            return
        try:
            self._call_now("pipe_message", sender, message)
        except BaseException:
            self.callback_failed("pipe_message")

    def _take_foreign(self, taker: ForeignTaker) -> Job | None:
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

    def _admit(self, record: int, task_id: int, message: Message) -> Job | None:
        """Enter a message in the ledger and begin it; None: it was refused."""
        foreign = self._foreign
        refused = foreign.refuse(message) if foreign is not None else None
        if refused is not None:
            self._refuse(*refused)
            return None
        body, flags = message.body, _ledger.FOREIGN
        self._view.flag(record, flags, 0)
        if not self._view.put(record, body):
            try:
                self._ledger.spill.write(body_name(task_id), body)
            except IPCError as exc:
                self._refuse(message.type, len(body), str(exc))
                return None
            self._view.spill_body(record, len(body), 1 << 62)
            flags |= _ledger.BODY_SPILLED
        dst = -1 if foreign is None else foreign.dst_of(message.type)
        slot = task_id % self.settings.worker_num  # who hears if it is given up
        attempt, began = self._view.begin(record, dst, 2 * slot + self.board.parity(slot))
        return record, task_id, attempt, -1, flags, body, len(body), began

    def _refuse(self, kind: int, size: int, why: str) -> None:
        text = "a foreign message of type %d, %d bytes, was refused: %s"
        limited.warning(text, kind, size, why, kind=f"foreign message: {kind_of(why)}")
        self.count(Row.FOREIGN_REFUSED)  # last: a reader of the count finds the line in the log

    def _check_unserved(self) -> None:
        now = time.monotonic()
        if now < self._next_check or self._foreign is None:
            return
        self._next_check = now + CHECK_SECONDS
        while (message := self._foreign.take_unserved()) is not None:
            refused = self._foreign.refuse(message)
            if refused is not None:
                self._refuse(*refused)

    # -- what server.* does here ---

    @property
    def current(self) -> CurrentTask | None:
        """The task in hand."""
        return self._runner.current

    def finish(self, value: Any) -> None:
        """Take the result of the task in hand; raises MisuseError without one, or twice."""
        self._runner.finish(value)

    def post(self, place: int, head: Head, body: bytes = b"") -> None:
        """Post to another process, waiting for room."""
        self.post_waiting(place, head, body)

    def after(
        self, seconds: float, callback: Callable[..., Any], args: tuple[Any, ...], *, every: bool
    ) -> int:
        """Set a timer; it runs between two tasks."""
        return self._timers.set(seconds, callback, args, every=every)

    def clear_timer(self, timer: int) -> bool:
        """Drop a timer; False: there is none."""
        return self._timers.clear(timer)

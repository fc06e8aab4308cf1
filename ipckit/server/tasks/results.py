"""The results of a worker's tasks: taken out of the ledger, and delivered to what waits for them.

A `taskwait()` waits by an `Outcome`, a `task_async()` by a future, a task with a callback by that.
Any other result is for the `finish` event. The ledger's words are the truth; `waiters` only says
what in this process waits for which task.

Stands on ipckit.server.tasks.{ledger,host}.
Invariants
  S1  A result is marked in the ledger as being delivered, then delivered, then its record is freed.
      If this process dies between the mark and the end, its successor delivers the result, to the
      `finish` event. So each result is delivered once, or twice where the first delivery was cut
      short. The ledger counts deliveries as they begin, so that the manager can give up a result
      that kills each process that delivers it (K3 of ipckit.server.tasks.recovery).
  S2  Nothing here waits, except wait(), which delivers results and reads frames while it waits.
  S3  While results keep arriving, this process polls once per iteration of its loop, and wake-ups
      are suppressed. Before it blocks, it enables wake-ups and polls once more. After a poll in
      vain that lasted _AWAKE_NS it enables wake-ups without such polling, _RESTS times.
Crash     What waits here is lost with this process; the tasks are not, and their results go to the
          `finish` callback of the successor.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from ipckit._core import _ledger
from ipckit.errors import TaskFailed
from ipckit.server.log import describe_exception, kind_of, limited, log
from ipckit.server.messaging.inbox import RETRY_SECONDS
from ipckit.server.shared.scoreboard import Row
from ipckit.server.system.poll import wait_for
from ipckit.server.tasks.host import SubmitterHost
from ipckit.server.tasks.ledger import FILES, Job, TaskLedger
from ipckit.server.tasks.retry_policy import Failure

__all__ = ["Outcome", "Results"]

_RESULTS_A_TURN = 256
"""Most results delivered before the loop sees to its clients again."""

_AWAKE_NS = 30_000 if (os.cpu_count() or 1) > 1 else 0
"""How long after the last result this process polls for the next one."""

_RESTS = 16
"""After it polled in vain: then the tasks take longer, or no CPU is free to run them."""


class Outcome:
    """What a taskwait() waits for: filled when the task is over."""

    __slots__ = ("done", "error", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: TaskFailed | None = None


class _Abandoned:
    """Stands for a wait that was given up: its result is delivered to nothing."""


_ABANDONED = _Abandoned()


class Results:
    """The results of one worker's tasks. One thread, the loop's."""

    def __init__(self, host: SubmitterHost, ledger: TaskLedger, view: _ledger.Ledger) -> None:
        self._host = host
        self._row = host.row
        self._ledger = ledger
        self._view = view
        self._read = ledger.read
        self.waiters: dict[int, Any] = {}
        """By task id."""
        self._dropped = False
        self._polls = False  # _poll_again() is scheduled
        self._rests = 0  # how many times it still does without polling
        self._delivered_at = 0  # the last result, ns of the monotonic clock
        self._left = False

    @property
    def awaited(self) -> bool:
        """Whether anything in this process waits for a task; all other results are for `finish`,
        here or in the successor.
        """
        return any(waiter is not _ABANDONED for waiter in self.waiters.values())

    def abandon(self, task_id: int) -> None:
        """Deliver the result of this task to nothing."""
        if task_id in self.waiters:
            self.waiters[task_id] = _ABANDONED

    def fail_futures(self) -> None:
        """The server ends: each task_async() that waits raises TaskFailed."""
        for task_id, waiter in self.waiters.items():
            if isinstance(waiter, asyncio.Future) and not waiter.done():
                why = f"task {task_id} was not run to its end: the server stopped"
                waiter.set_exception(TaskFailed(why, task_id=task_id))

    def retire(self) -> None:
        """Deliver nothing more: all that is left is the successor's."""
        self._left = True

    # -- without the loop ---

    def wait(self, outcomes: list[Outcome], deadline: float) -> None:
        """Deliver results and read frames until all outcomes are there or the time is over. S2."""
        poller = select.poll()
        inbox, wakeup = self._host.inbox, self._ledger.wakeups[self._host.place]
        poller.register(inbox.reading, select.POLLIN)
        poller.register(wakeup, select.POLLIN)
        while True:
            self._view.request_wakeup()
            self._host.read_inbox(defer=True)
            self.deliver_some(defer=True)
            left = deadline - time.monotonic()
            if left <= 0 or all(outcome.done for outcome in outcomes):
                return
            poller.modify(inbox.reading, 0 if inbox.blocked else select.POLLIN)
            wait_for(poller, min(left, RETRY_SECONDS if inbox.blocked else 1.0) * 1000 + 1)
            self._ledger.silence(self._host.place)

    # -- on the loop ---

    def poll(self) -> None:
        """Deliver what is there; poll again, or enable wake-ups. S3."""
        found = self.deliver_some()
        now = time.monotonic_ns()
        if found:
            self._delivered_at = now
            self._rests = max(0, self._rests - 1)
        elif now - self._delivered_at > _AWAKE_NS and self._delivered_at and not self._rests:
            self._rests = _RESTS
        if self._rests or now - self._delivered_at > _AWAKE_NS:
            self._view.request_wakeup()
            if not self.deliver_some():
                return
        if not self._polls:
            self._polls = True
            self._host.loop.call_soon(self._poll_again)

    def _poll_again(self) -> None:
        self._polls = False
        self.poll()

    def deliver_some(self, *, defer: bool = False) -> bool:
        """Deliver the results that are there, at most a turn's worth; False: there were none."""
        view, host, waiters = self._view, self._host, self.waiters
        if self._left or not view.collect(_RESULTS_A_TURN):
            return False
        finish = None if defer else host.callbacks.get("finish")
        server, read = host.server, self._read
        host.deferring = defer
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
            except Exception:  # the others that were taken out are still to be delivered
                limited.write(
                    logging.ERROR,
                    "the result of task %d could not be delivered",
                    end[2],
                    more=lambda: describe_exception()[1],
                )
        host.deferring = False
        return True

    def _go_on(
        self, stage: int, record: int, task_id: int, flags: int, attempt: int, value: Any, size: int
    ) -> None:
        """Do the rest for a result that Ledger.deliver() left."""
        if stage == _ledger.UNTOLD:
            self._deliver(record, task_id, flags, attempt, value, size)
        elif asyncio.iscoroutine(value):
            self._host.go_on("finish", value, then=partial(self._view.release, record))
        else:
            self._view.release(record)

    def _finish_failed(self) -> None:
        """Write down what is being handled, of Ledger.deliver(): call it in an except clause."""
        record, task_id, attempt, *_ = cast("Job", self._view.in_hand())
        if self._view.unread():
            self._result_unreadable(record, task_id, attempt)
            return
        self._host.callback_failed("finish")
        self._view.release(record)

    def _deliver(
        self, record: int, task_id: int, flags: int, attempt: int, result: bytes | None, size: int
    ) -> None:
        """S1."""

        def release() -> None:
            self._release(record, task_id, flags, attempt)

        self._view.begin_delivery(record)
        waiter = self.waiters.pop(task_id, None)
        if flags & _ledger.LOST:
            self._deliver_failure(waiter, task_id, attempt, release)
            return
        value = None
        if flags & _ledger.HAS_RESULT:
            try:
                value = self._ledger.load_result(task_id, attempt, result, size)
            except BaseException:  # what a type does when it is unpickled is the user's code
                if waiter is not None:
                    self.waiters[task_id] = waiter
                self._result_unreadable(record, task_id, attempt)
                return
        if isinstance(waiter, Outcome):
            waiter.done, waiter.value = True, value
        elif isinstance(waiter, asyncio.Future):
            if not waiter.done():
                waiter.set_result(value)
        elif waiter is not _ABANDONED and flags & _ledger.HAS_RESULT:
            self._deliver_result(waiter, task_id, value, release)
            return
        release()

    def _deliver_result(
        self, callback: Any, task_id: int, value: Any, release: Callable[[], None]
    ) -> None:
        if callback is None:
            callback = self._host.callbacks.get("finish")
            if callback is None:
                self._drop_result()
                release()
                return
        self._host.emit_to(callback, "finish", task_id, value, then=release)

    def _drop_result(self) -> None:
        self._row[Row.RESULTS_DROPPED] += 1
        if not self._dropped:
            self._dropped = True
            log.warning("results are dropped: there is no `finish` callback (said once)")

    def _result_unreadable(self, record: int, task_id: int, attempt: int) -> None:
        failure = Failure(*describe_exception(), at=time.time())
        self._ledger.attempt_failed(self._view, self._row, record, task_id, attempt, failure)

    def _deliver_failure(
        self, waiter: Any, task_id: int, attempts: int, release: Callable[[], None]
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
        elif (callback := self._host.callbacks.get("task_failed")) is not None:
            self._host.emit_to(callback, "task_failed", task_id, error, then=release)
            return
        release()

    def _release(self, record: int, task_id: int, flags: int, attempt: int) -> None:
        """It was delivered: free its record."""
        if not flags & FILES:
            self._view.release(record)
        elif self._view.end(record):
            self._ledger.remove_files(task_id, attempt)
            self._view.clear(record)

"""One attempt after another: a claimed task is run, and its end is written into the ledger.

Stands on ipckit.server.tasks.{ledger,time_limit,retry_policy,host},
          ipckit.server.shared.scoreboard.
Invariants
  R1  An attempt is counted (by the ledger's view) before its end is in the ledger, so a reader of
      the result finds it counted.
  R2  An end that comes too late (the attempt was given to another process) changes nothing, and is
      counted.
  R3  An attempt fails by any BaseException: SystemExit, KeyboardInterrupt and CancelledError too.
      The process goes on. The dead letter names the exception.
  R4  A process that the callback forked neither ends the task nor begins another. It ends where it
      comes back from the callback.
Speed     a task that is not limited in time, and has nothing uncommon, is one C call, with no
          Python frame but the callback's.
Blocks    as long as the user's callback does; run_on_loop() not even then.
Crash     the task in hand is tried again, by the manager's sweep.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from ipckit._core import _ledger
from ipckit.errors import IPCError, MisuseError, ProtocolError
from ipckit.server.log import describe_exception, kind_of, limited
from ipckit.server.shared.scoreboard import Row
from ipckit.server.system.user_forks import end_forked
from ipckit.server.tasks.host import RunnerHost
from ipckit.server.tasks.ledger import Job, TaskLedger
from ipckit.server.tasks.retry_policy import Failure
from ipckit.server.tasks.time_limit import TimeLimit

__all__ = ["CurrentTask", "TaskRunner"]

_UNCOMMON = _ledger.FOREIGN | _ledger.BODY_SPILLED
_NO_ROOM = -2
"""Ledger.done_with(): the result is not for inside."""


class CurrentTask(NamedTuple):
    """What `server.current_task` tells."""

    task_id: int
    attempt: int
    src_worker_id: int
    deadline: float | None


class TaskRunner:
    """The attempts of one task worker, one at a time."""

    def __init__(self, host: RunnerHost, ledger: TaskLedger, view: _ledger.Ledger) -> None:
        settings = host.settings
        view.account(host.row, Row.BUSY_SINCE, Row.TASKS, Row.TASK_NS)
        self._server = host.server
        self._row = host.row
        self._ledger = ledger
        self._view = view
        self._read = ledger.read
        self._dump = ledger.dump
        self._done = view.done
        self._done_with = view.done_with
        self._encode, self._protocol = ledger.encode
        self._callback = cast("Callable[..., Any]", host.callbacks.get("task"))
        self._limit = TimeLimit(settings.task_timeout)
        self._limited = settings.task_timeout is not None
        limit = settings.task_max_request
        grace = settings.request_grace(limit, settings.task_max_request_grace)
        self.left = limit + random.randint(0, grace) if limit else -1
        """Attempts that are still begun; -1: no limit."""
        self.interrupted = False
        """Set by a signal's handler: run_claimed() begins no other task."""
        self._is_fork = False
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        """R4. In the child."""
        self._is_fork = True
        self._view.forked()

    # -- what the callback sees ---

    @property
    def current(self) -> CurrentTask | None:
        """The task in hand."""
        job = self._view.in_hand()
        if job is None:
            return None
        _, task_id, attempt, source, flags, _, _, began = job
        deadline = self._limit.deadline(began)
        return CurrentTask(task_id, attempt, _source_id(flags, source), deadline)

    def finish(self, value: Any) -> None:
        """Take the result of the task in hand; raises MisuseError without one, or twice."""
        job = self._view.in_hand()
        if job is None:
            raise MisuseError("finish() belongs inside the `task` callback: call it there, once")
        if self._view.given() is not None:
            raise MisuseError(f"task {job[1]} was finished already: call finish() once")
        self._view.give(self._dump(value))

    # -- an attempt ---

    def run_claimed(self, most: int, until: int) -> bool:
        """Claim and run up to `most` tasks, none after one that began after `until` (ns).

        False: there was none.
        """
        if self._limited:
            return self._run_limited(most, until)
        view, server, callback = self._view, self._server, self._callback
        read, encode, protocol = self._read, self._encode, self._protocol
        ran = False
        for _ in range(most):
            if self.interrupted or not self.left:
                break
            try:
                end = view.run(callback, server, read, encode, protocol, until)
            except BaseException:  # R3: of the callback, or of what the data's types do
                job = view.in_hand()
                if job is None:
                    raise
                hopeless = view.unread() and isinstance(sys.exception(), ProtocolError)
                self._ended_badly(job, hopeless=hopeless)
                ran = True
                continue
            if end is None:
                break
            ran = True
            if isinstance(end, tuple):
                self._go_on(*end)
            elif self.left > 0:
                self.left -= 1
            if end is False:
                break
        return ran

    def _run_limited(self, most: int, until: int) -> bool:
        for number in range(most):
            job = None if self.interrupted or not self.left else self._view.claim()
            if job is None:
                return number > 0
            self.run(job)
            if job[7] >= until:  # when it began
                break
        return True

    def _go_on(self, stage: int, job: Job, value: Any) -> None:
        """Do the rest of an attempt that Ledger.run() left."""
        if stage == _ledger.BEGUN:
            self.run(job)
        elif stage in (_ledger.RETURNED, _ledger.FORKED):
            self._ended_well(job, value)
        else:
            self._over()
            self._told(job, value)

    def run(self, job: Job) -> None:
        """Run it to its end."""
        _, task_id, _, source, flags, body, size, _ = job
        try:
            if flags & _UNCOMMON or body is None:
                data = self._ledger.load(flags, task_id, body, size)
                source = _source_id(flags, source)
            else:
                data = self._read(body)
        except BaseException as exc:  # R3
            self._ended_badly(job, hopeless=isinstance(exc, ProtocolError))
            return
        try:
            if self._limited:
                with self._limit.running():
                    returned = self._callback(self._server, task_id, source, data)
            else:
                returned = self._callback(self._server, task_id, source, data)
        except BaseException:  # R3
            self._limit.stop()
            self._ended_badly(job)
        else:
            self._ended_well(job, returned)

    async def run_on_loop(self, job: Job) -> None:
        """As run(), for a callback that may be `async def`."""
        _, task_id, _, source, flags, body, size, _ = job
        try:
            data = self._ledger.load(flags, task_id, body, size)
        except BaseException as exc:  # R3
            self._ended_badly(job, hopeless=isinstance(exc, ProtocolError))
            return
        try:
            with self._limit.running(soft=False):
                returned = self._callback(self._server, task_id, _source_id(flags, source), data)
                if asyncio.iscoroutine(returned):
                    returned = await self._in_time(returned)
        except BaseException:  # R3
            self._limit.stop()
            self._ended_badly(job)
        else:
            self._ended_well(job, returned)

    async def _in_time(self, coroutine: Any) -> Any:
        limit = asyncio.timeout(self._limit.seconds)
        try:
            async with limit:
                return await coroutine
        except TimeoutError:
            if limit.expired():
                raise self._limit.error() from None
            raise

    def _ended_well(self, job: Job, returned: Any) -> None:
        if self._is_fork:
            end_forked("task")
        record, task_id, attempt, _, flags, _, _, _ = job
        value = self._view.given()
        try:
            if returned is not None:
                if value is None:
                    value = self._dump(returned)
                else:
                    limited.warning(
                        "task %d: finish() was called, its return value is dropped", task_id
                    )
            if value is None or flags & _ledger.FOREIGN:
                left = self._done(record)
            else:
                left = self._done_with(record, value)
                if left == _NO_ROOM:
                    self._ledger.put_result(self._view, record, task_id, attempt, value)
                    left = self._done(record)
        except (TypeError, MemoryError, IPCError):  # it cannot be pickled, or kept
            self._ended_badly(job)
            return
        self._over()
        self._told(job, left)

    def _told(self, job: Job, left: int) -> None:
        """Its end is written: `left` is what Ledger.done() said."""
        record, task_id, attempt, *_ = job
        if left == 1:
            self._ledger.remove_files(task_id, attempt)
            self._view.clear(record)
        elif left < 0:
            self._late(task_id, attempt)

    def _ended_badly(self, job: Job, *, hopeless: bool = False) -> None:
        """Write down what is being handled: call it in an except clause."""
        if self._is_fork:
            end_forked("task")
        record, task_id, attempt, *_ = job
        failure = Failure(*describe_exception(), at=time.time())
        kind = f"attempt failed: {kind_of(failure.error)}"
        limited.info("task %d, attempt %d failed: %s", task_id, attempt, failure.error, kind=kind)
        ours = self._ledger.attempt_failed(
            self._view, self._row, record, task_id, attempt, failure, hopeless=hopeless
        )
        self._over()
        if not ours:
            self._late(task_id, attempt)

    def _late(self, task_id: int, attempt: int) -> None:
        """R2."""
        self._row[Row.RESULTS_DROPPED] += 1
        limited.warning("task %d, attempt %d ended too late: dropped", task_id, attempt)

    def _over(self) -> None:
        if self.left > 0:
            self.left -= 1


def _source_id(flags: int, source: int) -> int:
    return -1 if flags & _ledger.FOREIGN else source

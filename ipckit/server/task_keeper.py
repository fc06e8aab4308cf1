"""The manager's part in tasks: what the dead held, what is due, what is given up.

Stands on ipckit.server.ledger.
Blocks    on the disk, for a dead letter or a spill file.
Invariants
  K1  a dead process's tasks are settled after it was reaped and before its place is used again.
  K2  a task that is given up is written down before its submitter is told.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from ipckit._core import _ledger
from ipckit.server.attempts import Failure
from ipckit.server.ledger import FILES, TaskLedger

__all__ = ["TaskKeeper"]


class TaskKeeper:
    """The ledger in the manager's hands. One process, one thread."""

    def __init__(self, ledger: TaskLedger) -> None:
        self._ledger = ledger
        self._view = ledger.overview
        self.bell = ledger.bells[ledger.manager]
        self.next_due = 0
        """When tend() has something to do, ns of the monotonic clock; 0: when the bell rings."""

    def sweep(self, place: int, row: memoryview, how: str, signal: int | None) -> None:
        """K1. What it was at has failed, and is counted in `row`."""
        view = self._view
        view.sweep(place)
        self._clear_what_is_left()
        for record in self._each(_ledger.RUNNING, place):
            task_id, _, _, attempt = view.look(record)[:4]
            failure = Failure(how, signal=signal, at=time.time())
            self._ledger.attempt_failed(view, row, record, task_id, attempt, failure)
        self.tend(time.monotonic_ns())

    def inherit(self, place: int, heir: int) -> None:
        """The tasks that a gone process asked for are its successor's."""
        self._view.move(place, heir)

    def tend(self, now: int) -> None:
        """Queue what is due, and write down what is given up."""
        self._ledger.silence(self._ledger.manager)
        self.next_due = self._view.wake_due(now)
        for record in self._each(_ledger.BURIED, -1):
            self._bury(record)

    def unfinished(self) -> int:
        """How many tasks wait or run."""
        states, _, _, waiting, _ = self._view.totals()
        return waiting + states[_ledger.RUNNING]

    def _bury(self, record: int) -> None:
        """K2."""
        task_id, _, _, attempt, *_ = self._view.look(record)
        if self._view.written_down(record) == 1:
            self._ledger.remove_files(task_id, attempt)
            self._view.clear(record)

    def _clear_what_is_left(self) -> None:
        for record in self._each(_ledger.CLEARING, self._ledger.manager):
            task_id, _, _, attempt, _, _, _, flags, *_ = self._view.look(record)
            if flags & FILES:
                self._ledger.remove_files(task_id, attempt)
            self._view.clear(record)

    def _each(self, state: int, place: int) -> Iterator[int]:
        """Give every record that is in this state when it is looked at, held by that place."""
        record = -1
        while (record := self._view.next(record + 1, state, place)) >= 0:
            yield record

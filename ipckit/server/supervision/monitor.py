"""What the manager looks at while it serves: workers that hang, task workers that fall behind, and
tasks that are refused.

Stands on ipckit.server.supervision.watchdog, ipckit.server.shared.task_load, which decide; the
          board, where the numbers are.
Blocks    never.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator

from ipckit.server.log import log
from ipckit.server.monitoring.stats import task_totals
from ipckit.server.processes.runtime import Runtime
from ipckit.server.shared.scoreboard import Row
from ipckit.server.shared.task_load import PERIOD, KeepingUp, Refusals
from ipckit.server.supervision.watchdog import Watchdog
from ipckit.server.tasks.admission import advice

__all__ = ["Monitor"]

_LOOK = 1.0
"""Seconds between two looks for refused tasks."""


class Monitor:
    """The manager's eyes. One thread."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._board = runtime.board
        self._watchdog = Watchdog(runtime.settings.worker_hang_timeout)
        self._keeping_up = KeepingUp(runtime.task_worker_num)
        self._refusals = Refusals()
        self._next_sample = 0.0
        self._next_check = 0.0

    def next_due(self, now: float) -> float | None:
        """Return when there is something to look at."""
        due = self._watchdog.next_due(now)
        if not self._runtime.task_worker_num:
            return due
        return self._next_check if due is None else min(due, self._next_check)

    def hanging(self, places: Iterable[int]) -> Iterator[tuple[int, int]]:
        """Give the place of each process that hangs, and the signal that it is to get."""
        beats = {}
        for place in places:
            beat = self._board.row(place // 2, place % 2)[Row.BEAT]
            if beat:
                beats[place] = beat / 1e9
        for place, number, seconds in self._watchdog.look(time.monotonic(), beats):
            log.error(
                "worker %d hangs: its loop has not turned for %.1f s (worker_hang_timeout); %s",
                place // 2,
                seconds,
                signal.Signals(number).name,
            )
            yield place, number

    def check_load(self) -> None:
        """Look for refused tasks, and take a sample of the tasks' totals, each when it is time; log
        what has changed.
        """
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + _LOOK
        self._check_refusals(now)
        if now >= self._next_sample:
            self._sample()

    def _check_refusals(self, now: float) -> None:
        board = self._board
        refused = board.total(Row.TASKS_REFUSED)
        found = self._refusals.change(now, refused, board.total(Row.REFUSED_FOR_MEMORY))
        if found is None:
            return
        if found.over:
            log.warning(
                "no task is refused any more; since the last line %d were, %d in all",
                found.tasks,
                refused,
            )
            return
        setting = "task_memory" if 2 * found.for_memory > found.tasks else "task_queue_size"
        needed = task_totals(self._runtime)[0].needed_since(board.load_before())
        log.warning(
            "tasks are refused (TaskQueueFull), %d so far: %s",
            refused,
            advice(self._runtime.settings, setting, needed),
        )

    def _sample(self) -> None:
        totals, waiting, oldest = task_totals(self._runtime)
        self._next_sample = totals.at + PERIOD
        self._board.sample_load(totals)
        needed = totals.needed_since(self._board.load_before())
        there = self._runtime.task_worker_num
        behind = self._keeping_up.change(needed, waiting)
        if behind:
            log.warning(
                "the task workers cannot keep up: what arrives takes %.1f, there are %d; "
                "%d tasks wait, the oldest for %.0f s: raise task_worker_num",
                needed,
                there,
                waiting,
                oldest,
            )
        elif behind is False:
            log.warning("the %d task workers keep up again: no task waits", there)

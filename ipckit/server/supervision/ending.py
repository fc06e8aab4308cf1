"""When the end of a server goes on to its next step: decisions only, no clock and no signal.

Stands on ipckit.server.supervision.fleet, for the time between a stack dump and SIGKILL.
Invariants
  E1  The task workers end first. The workers end (FINISH) when the task workers are gone, or at
      max_wait_time.
  E2  CLOSING_SECONDS after max_wait_time every process that is left dumps its stacks (DUMP).
      DUMP_SECONDS later it is killed (KILL), again and again until it is gone.
"""

from __future__ import annotations

from enum import Enum

from ipckit.server.supervision.fleet import DUMP_SECONDS

__all__ = ["CLOSING_SECONDS", "Ending", "Step"]

CLOSING_SECONDS = 2.0
"""After the limit for the work: for `worker_stop`, and for the last bytes to others."""


class Step(Enum):
    """What is due."""

    FINISH = "finish"
    DUMP = "dump"
    KILL = "kill"


class Ending:
    """The end of one server, from begin() on."""

    def __init__(self, max_wait_time: float) -> None:
        self._limit = max_wait_time
        self._due: float | None = None
        self._finishing = self._dumped = False

    def begin(self, now: float) -> None:
        """The server is asked to end."""
        self._due = now + self._limit

    def next_due(self) -> float | None:
        """Return when step() has something to do at the latest; None: the server serves."""
        return self._due

    def step(self, now: float, *, task_workers: bool) -> Step | None:
        """Return what is due now; `task_workers`: some are left."""
        if self._due is None:
            return None
        if not self._finishing and (now >= self._due or not task_workers):
            self._finishing = True
            self._due += CLOSING_SECONDS
            return Step.FINISH
        if now < self._due:
            return None
        step = Step.KILL if self._dumped else Step.DUMP
        self._dumped, self._due = True, now + DUMP_SECONDS
        return step

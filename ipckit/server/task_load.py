"""How many task workers are needed: arrivals per second x mean run time, of late. Pure.

Stands on nothing but the standard library: the caller gives totals, and the moment they were
taken at.
Contract  the figures are of the time since a sample of PERIOD to 2 * PERIOD seconds ago, or since
          the start while that is nearer. Totals only grow.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PERIOD", "KeepingUp", "Totals"]

PERIOD = 30.0
"""Seconds between two samples."""


class Totals(NamedTuple):
    """What is counted over the server's life, at one moment."""

    at: float  # of the monotonic clock
    arrived: int  # tasks
    ended: int  # attempts
    seconds: float  # that those took

    def needed_since(self, earlier: Totals) -> float:
        """Return how many task workers, always busy, what arrived since then takes.

        Where no attempt ended since then, the mean run time is that of the server's life.
        """
        elapsed = self.at - earlier.at
        if elapsed <= 0:
            return 0.0
        ended, seconds = self.ended - earlier.ended, self.seconds - earlier.seconds
        if not ended:
            ended, seconds = self.ended, self.seconds
        return (self.arrived - earlier.arrived) / elapsed * (seconds / ended) if ended else 0.0


class KeepingUp:
    """Whether the task workers keep up, and when that is to be said."""

    def __init__(self, task_workers: int) -> None:
        self._task_workers = task_workers
        self._behind = False

    def change(self, needed: float, waiting: int) -> bool | None:
        """Return True when they begin to fall behind, False when no more, None: as before.

        Behind: more of them are needed than there are, and tasks wait. No more: no task waits.
        """
        if not self._behind and waiting and needed > self._task_workers:
            self._behind = True
        elif self._behind and not waiting:
            self._behind = False
        else:
            return None
        return self._behind

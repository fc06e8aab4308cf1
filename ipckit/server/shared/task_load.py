"""How many task workers are needed: arrivals per second x mean run time, of late; whether they keep
up, whether tasks are refused, and when that is said. Pure.

Stands on nothing but the standard library: the caller gives totals, and the moment they were
taken at.
Contract  the figures are of the time since a sample of PERIOD to 2 * PERIOD seconds ago, or since
          the start while that is nearer. Totals only grow.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PERIOD", "KeepingUp", "Refusals", "Refused", "Totals"]

PERIOD = 30.0
"""Seconds between two samples."""


class Totals(NamedTuple):
    """What is counted over the server's life, at one moment."""

    at: float  # of the monotonic clock
    arrived: int  # tasks, those that were refused among them
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


class Refused(NamedTuple):
    """Tasks that were refused, to be said."""

    tasks: int
    for_memory: int  # of them: those for task_memory; the others for task_queue_size
    seconds: float  # since the line before; 0: there was none
    over: bool  # no task is refused any more


class Refusals:
    """When the log says that tasks are refused: with the first, then every REPEAT seconds, and
    QUIET seconds after the last one.

    Each task is in one of what change() returns, and what is over is said before the next begins.
    """

    QUIET = 10.0
    REPEAT = 60.0

    def __init__(self) -> None:
        self._seen = (0, 0)  # what was refused, of these for memory, at the last look
        self._said = (0, 0)  # at the last line
        self._said_at: float | None = None  # None: nothing yet of what goes on
        self._last = 0.0  # the last look that found a refused task
        self._refusing = False

    def change(self, now: float, tasks: int, for_memory: int) -> Refused | None:
        """Return what is to be said of the totals at this moment; None: nothing."""
        if tasks > self._seen[0]:
            self._last = now
            if not self._refusing:
                self._refusing = True
                self._said_at = None
        self._seen = (tasks, for_memory)
        if not self._refusing:
            return None
        over = now - self._last >= self.QUIET
        seconds = 0.0 if self._said_at is None else now - self._said_at
        if not over and self._said_at is not None and seconds < self.REPEAT:
            return None
        new, of_memory = tasks - self._said[0], for_memory - self._said[1]
        self._said, self._said_at, self._refusing = self._seen, now, not over
        return Refused(new, of_memory, seconds, over)

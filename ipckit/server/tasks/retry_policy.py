"""What follows a failed attempt: another one, and when, or none. Pure.

Stands on nothing but the standard library: no clock (the caller gives `now`), no chance (the
caller gives `jitter`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["MOST_DELIVERIES", "Attempts", "Failure"]

_JITTER = 0.2

MOST_DELIVERIES = 2
"""So often a callback is begun with one result, if each time its process dies of it."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a task is tried, and how long it waits in between."""

    most: int
    delays: tuple[float, ...]  # after the first, the second...; the last one repeats

    def next_due(self, made: int, now: float, jitter: float) -> float | None:
        """Return when the next attempt is due after `made` of them; None: there is none.

        0 means at once. `jitter` in -1..1 moves the delay by up to 20 %.
        """
        if made >= self.most:
            return None
        delay = self.delays[min(max(made, 1), len(self.delays)) - 1]
        return now + delay * (1 + _JITTER * jitter) if delay else 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt ended badly."""

    error: str  # "Type: text" of the exception, or how the process died
    traceback: str = ""
    signal: int | None = None  # that the process died of
    at: float = 0.0  # time.time()

    def to_json(self) -> dict[str, Any]:
        """Return the form for a file."""
        return {
            "error": self.error,
            "traceback": self.traceback,
            "signal": self.signal,
            "at": self.at,
        }

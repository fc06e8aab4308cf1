"""Hang detection: which workers' event loops have been silent for too long. Pure.

Contract  a worker beats into its row several times within the timeout; one that does not gets
          SIGABRT, which dumps its stack, and is killed if that does not end it in time. A
          stopped process is silent too. If the caller itself was away for longer than between two
          looks (the machine was paused, all of the group was stopped), every worker has the timeout
          once more.
          No clock: the caller gives `now`.
Stands on nothing but the standard library.
"""

from __future__ import annotations

import signal
from typing import NamedTuple

from ipckit.server.shared.scoreboard import BEATS

__all__ = ["Silent", "Watchdog"]

_DUMP_SECONDS = 0.5
"""Between SIGABRT and SIGKILL."""


class Silent(NamedTuple):
    """A worker that is silent, and the signal for it."""

    place: int
    signal: int
    seconds: float


class Watchdog:
    """Which workers got a signal already; `timeout` None: none ever does."""

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._told: dict[int, tuple[float, float]] = {}  # place -> its beat, when it is killed
        self._looked: float | None = None
        self._since = 0.0  # silence counts from here on

    def next_due(self, now: float) -> float | None:
        """Return when look() may find something."""
        if self._timeout is None:
            return None
        kills = [when for _, when in self._told.values()]
        return min([now + self._timeout / BEATS, *kills])

    def look(self, now: float, beats: dict[int, float]) -> list[Silent]:
        """Return who gets which signal now. `beats`: place -> its last beat, in seconds."""
        if self._timeout is None:
            return []
        if self._looked is not None and now - self._looked > 2 * self._timeout / BEATS:
            self._since = now
        self._looked = now
        found = []
        for place, beat in beats.items():
            told = self._told.get(place)
            if now - max(beat, self._since) <= self._timeout:
                continue
            if told is None or told[0] != beat:
                self._told[place] = (beat, now + _DUMP_SECONDS)
                found.append(Silent(place, signal.SIGABRT, now - beat))
            elif now >= told[1]:
                self._told[place] = (beat, float("inf"))
                found.append(Silent(place, signal.SIGKILL, now - beat))
        self._told = {
            place: told for place, told in self._told.items() if beats.get(place) == told[0]
        }
        return found

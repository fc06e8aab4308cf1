"""The manager's side of the user processes: which live, and when one is made again.

Contract  a user process that returns, raises or dies is made again, after a pause that grows while
          it does not live long (`Restarts`).
Stands on ipckit.server.system.failure_policy. `Restarts` is pure.
Blocks    never.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ipckit.errors import SystemCallError
from ipckit.server.system.failure_policy import pause_after

__all__ = ["Restarts", "UserProcesses"]

_LONG = 10.0
"""Seconds: after such a life the first pause is the next."""


class Restarts:
    """When a user process that ended is made again. Pure."""

    def __init__(self) -> None:
        self._short = 0  # lives in a row that were not long

    def due(self, began: float, ended: float) -> float:
        """Return when, for one that lived from `began` to `ended`."""
        self._short = 0 if ended - began >= _LONG else self._short + 1
        return ended + pause_after(self._short)


class UserProcesses:
    """The user processes that live, and those that are due.

    `spawn` makes one and returns its pidfd; `failed` gets what it raised if it made none.
    """

    def __init__(
        self, count: int, spawn: Callable[[int], int], failed: Callable[[SystemCallError], None]
    ) -> None:
        self._spawn = spawn
        self._failed = failed
        self._restarts = [Restarts() for _ in range(count)]
        self._began = [0.0] * count
        self._due: dict[int, float] = dict.fromkeys(range(count), 0.0)  # number -> when
        self.alive: dict[int, int] = {}
        """pidfd -> number."""

    def next_due(self) -> float | None:
        """Return when tick() has something to do."""
        return min(self._due.values(), default=None)

    def tick(self) -> None:
        """Make those that are due."""
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if due <= now]:
            del self._due[number]
            self._began[number] = now
            try:
                self.alive[self._spawn(number)] = number
            except SystemCallError as exc:
                self._due[number] = self._restarts[number].due(now, now)
                self._failed(exc)

    def ended(self, pidfd: int) -> tuple[int, float]:
        """Forget a dead one; return its number, and how long until it is made again."""
        number = self.alive.pop(pidfd)
        now = time.monotonic()
        self._due[number] = self._restarts[number].due(self._began[number], now)
        return number, self._due[number] - now

    def stop(self) -> None:
        """Make none again."""
        self._due.clear()

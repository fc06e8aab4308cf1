"""Ten seconds for an answer: what nobody could have given for want of a CPU does not count.

Contract  `Patience(seconds).over()` is true once that many seconds have passed, and as many again
          as this process and those it watches waited for a CPU in that time, all added up. A
          process that sleeps, as one that hangs does, waits for no CPU: its time is exact on any
          machine. For a process that spins, the whole wait is no longer than MOST.
Kernel    proc(5) schedstat, the second number: nanoseconds that a thread was runnable and did not
          run. Without it (CONFIG_SCHED_INFO) all time counts.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["DEADLINE", "MOST", "Hang", "Patience", "watch"]

DEADLINE = 10.0

MOST = 120.0
"""Seconds, whatever was waited for."""

_SOON = 1.0
"""Seconds of a wait before it costs anything to look at."""

_watched: list[Callable[[], Iterable[int]]] = [lambda: ()]


class Hang(AssertionError):
    """Something did not come within ten seconds."""


def watch(pids: Callable[[], Iterable[int]]) -> None:
    """From now on the processes of this server are watched."""
    _watched[0] = pids


class Patience:
    """With one wait, from now on."""

    def __init__(self, seconds: float = DEADLINE) -> None:
        self.seconds = seconds
        self._began = time.monotonic()
        self._before: dict[int, float] | None = None
        self._waited: dict[int, float] = {}

    def watch(self) -> None:
        """What is waited for a CPU counts from here on; over() does it after a second."""
        self._before = _delays()

    def over(self) -> bool:
        """Whether the time has passed."""
        passed = time.monotonic() - self._began
        if self._before is None and passed > _SOON:
            self.watch()
        if passed <= self.seconds:
            return False
        assert self._before is not None
        for pid, delay in _delays().items():
            self._waited[pid] = delay - self._before.get(pid, 0.0)
        return passed > min(self.seconds + sum(self._waited.values()), max(MOST, self.seconds))

    def check(self, what: str) -> None:
        """Raise Hang if it has."""
        if self.over():
            raise Hang(f"not within {self.seconds:g} s: {what}")


def _delays() -> dict[int, float]:
    """Return how long each of them has waited for a CPU in its life, in seconds."""
    found = {}
    for pid in (os.getpid(), *_watched[0]()):
        with contextlib.suppress(OSError, IndexError):
            words = Path(f"/proc/{pid}/schedstat").read_text().split()
            found[pid] = int(words[1]) / 1e9
    return found

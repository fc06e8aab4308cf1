"""The time limit of an attempt: an exception in the callback, and one second later the end.

Contract  `running()` is a context: inside it the callback may get TaskTimeout, outside of it never;
          and the process is killed by the kernel if the block lasts a second longer than the limit,
          whatever code it is in.
Stands on ipckit._core (ipk_trace: timers that send signals), ipckit.errors.
Owns      the signal SIGRTMAX - 2 of a task worker with a `task_timeout`.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from ipckit._core import check, ffi, lib
from ipckit.errors import TaskTimeout

__all__ = ["HARD_SECONDS", "TimeLimit"]

HARD_SECONDS = 1.0
"""Between the exception and the kill."""

_SIGNAL = signal.SIGRTMAX - 2


class TimeLimit:
    """One task worker's limit; `seconds` None: there is none. Main thread only."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._armed = False
        if seconds is not None:
            signal.signal(_SIGNAL, self._is_over)

    def deadline(self, began: int) -> float | None:
        """Return when an attempt that began then (ns of the monotonic clock) must be over, in s."""
        return None if self.seconds is None else began / 1e9 + self.seconds

    def error(self) -> TaskTimeout:
        """Return what the callback gets."""
        return TaskTimeout(f"the attempt took longer than task_timeout={self.seconds:g} s")

    @contextlib.contextmanager
    def running(self, *, soft: bool = True) -> Iterator[None]:
        """Limit the block. `soft` False: only by the kill."""
        if self.seconds is None:
            yield
            return
        timers = [_timer(signal.SIGKILL, self.seconds + HARD_SECONDS)]
        if soft:
            self._armed = True
            timers.append(_timer(_SIGNAL, self.seconds))
        try:
            yield
        finally:
            self._armed = False  # a signal before this line is still the attempt's
            for timer in timers:
                lib.ipk_signal_not(timer)

    def _is_over(self, _number: int, _frame: object) -> None:
        if self._armed:
            self._armed = False
            raise self.error()


def _timer(number: int, seconds: float) -> Any:
    made = ffi.new("void **")
    check(lib.ipk_signal_after(made, number, int(seconds * 1e9)), "timer_create", "a time limit")
    return made[0]

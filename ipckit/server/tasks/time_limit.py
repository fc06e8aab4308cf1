"""The time limit of an attempt: an exception in the callback, and one second later the end.

Contract  `running()` is a context: inside it the callback may get TaskTimeout, outside of it never;
          and the process is killed by the kernel if the block lasts a second longer than the limit,
          whatever code it is in.
Stands on ipckit._core (trace: timers that send signals), ipckit.errors.
Owns      IPK_SIGNAL_TASK_LIMIT (process/signals.h) of a task worker with a `task_timeout`.
Invariants
  L1  This object knows a timer before the timer can run. So stop() ends it wherever an exception
      comes: a signal raises TaskTimeout between any two bytecodes of the block, or of this module.
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

_SIGNAL = lib.ipk_signal_task_limit()


class TimeLimit:
    """One task worker's limit; `seconds` None: there is none. Main thread only."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._armed = False
        self._kill = ffi.new("struct ipk_timer *")
        self._raise = ffi.new("struct ipk_timer *")
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
        """Limit the block. `soft` False: only by the kill.

        An exception may come out of it in place of one of the block, or with the block not begun:
        call stop() when one did.
        """
        if self.seconds is None:
            yield
            return
        try:
            _start(self._kill, signal.SIGKILL, self.seconds + HARD_SECONDS)
            if soft:
                self._armed = True
                _start(self._raise, _SIGNAL, self.seconds)
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        """End the limit. Harmless without one; TaskTimeout may come out of it once."""
        try:
            self._armed = False  # a signal before this line is still the attempt's
        finally:
            lib.ipk_signal_not(self._kill)
            lib.ipk_signal_not(self._raise)

    def _is_over(self, _number: int, _frame: object) -> None:
        if self._armed:
            self._armed = False
            raise self.error()


def _start(timer: Any, number: int, seconds: float) -> None:
    check(lib.ipk_signal_after(timer, number, int(seconds * 1e9)), "timer_create", "a time limit")

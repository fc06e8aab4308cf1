"""The steps of the manager's loop: one that fails costs that step only.

ipckit.server.system.failure_policy decides what a failure means; this module carries it out, with
the clock, the log and the poller.

Contract  a failing step is logged with its name and what it raised, and is left out until its pause
          is over; so is the descriptor that called for it, so that the loop does not spin.
Stands on ipckit.server.system.failure_policy, ipckit.server.log, poll(2).
"""

from __future__ import annotations

import contextlib
import logging
import select
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from ipckit.errors import IPCError, MisuseError
from ipckit.server.log import limited, log
from ipckit.server.system.failure_policy import Operation, code_of, decide

__all__ = ["Guard"]


class _Failed(NamedTuple):
    failures: int  # in a row
    until: float  # it is left out


class Guard:
    """Does steps. One thread."""

    def __init__(self, poller: select.poll) -> None:
        self._poller = poller
        self._failed: dict[tuple[str, int], _Failed] = {}

    def attempt(self, step: str, do: Callable[..., Any], *args: Any) -> bool:
        """Do it now, and only once; False: it failed, and the log says so."""
        try:
            do(*args)
        except Exception as exc:  # whatever the environment does: E1
            self.note(step, exc)
            return False
        return True

    def run(self, step: str, do: Callable[..., Any], *args: Any, fd: int = -1) -> None:
        """Do it, unless it failed a moment ago. `fd`: the descriptor that calls for it."""
        key = (step, fd)
        failed = self._failed.get(key)
        now = time.monotonic()
        if failed is not None and now < failed.until:
            return
        try:
            do(*args)
        except Exception as exc:  # E1
            failures = 1 if failed is None else failed.failures + 1
            pause = decide(Operation.STEP, code_of(exc), failures) or 0.0
            self._failed[key] = _Failed(failures, now + pause)
            self._listen(fd, 0)
            self.note(step, exc)
        else:
            if failed is not None:
                del self._failed[key]
                self._listen(fd, select.POLLIN)

    def poll(self, pause_ms: float) -> list[int]:
        """Wait; return the descriptors that ask for something.

        Raises MisuseError when one of them is closed: the manager can neither see the end of its
        processes nor be asked to end.
        """
        found = self._poller.poll(pause_ms)
        if closed := [fd for fd, events in found if events & select.POLLNVAL]:
            error = MisuseError(
                f"descriptors of the manager were closed ({', '.join(map(str, closed))}), and the "
                f"server ends: a callback of the manager may close only what it opened itself"
            )
            log.critical("%s", error)  # what is closed makes more errors on the way out
            raise error
        return [fd for fd, _ in found]

    def next_due(self) -> float | None:
        """Return when a step that was left out is due; poll the descriptors that are due again."""
        now = time.monotonic()
        for (_, fd), failed in self._failed.items():
            if failed.until <= now:
                self._listen(fd, select.POLLIN)
        return min((failed.until for failed in self._failed.values()), default=None)

    @staticmethod
    def note(step: str, error: BaseException) -> None:
        """Log a failure, or count it, if there were many that are alike."""
        kind = type(error).__name__
        known = isinstance(error, OSError | IPCError | MemoryError)
        limited.write(
            logging.ERROR,
            "manager: %s failed: %s: %s",
            step,
            kind,
            error,
            kind=f"manager: {step} failed: {kind} {code_of(error)}",
            more=None if known else lambda: "".join(traceback.format_exception(error)).rstrip(),
        )

    def _listen(self, fd: int, events: int) -> None:
        if fd >= 0:
            with contextlib.suppress(FileNotFoundError):  # it is not polled any more
                self._poller.modify(fd, events)

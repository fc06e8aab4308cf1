"""What a failure means to the manager: decisions only, no I/O and no clock.

The environment of the manager is what it does not control: the kernel and its limits, the file
systems, and the program's own callbacks and log handlers in its process.

Contract  `decide()` answers every failure of every operation with a pause, after which the
          operation is tried again, or with None: it is given up, and the log says so.
Invariants
  E1  No answer ends a server that was up.
  E2  What the server cannot do without (a process for an empty slot, a step of the manager's loop)
      is never given up, whatever the error is.
  E3  In a row of failures no pause is shorter than the one before it. A pause lasts 5 s at most.
  E4  After an error that does not pass by itself, what can be given up is given up. After one that
      may pass it is given up after a few attempts, if something else serves in the meantime. A dead
      letter is given up only for its own data: a place that cannot be written may be repaired.
"""

from __future__ import annotations

import errno
from enum import Enum

__all__ = [
    "ATTEMPTS",
    "Operation",
    "code_of",
    "decide",
    "in_words",
    "lies_in_the_data",
    "passes",
    "pause_after",
]

PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before the next attempt, after so many failures in a row."""

ATTEMPTS = 5
"""Of what can be given up."""

_PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EDQUOT,
        errno.EINTR,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EPIPE,
        errno.ETIMEDOUT,
        errno.ETOOMANYREFS,
    }
)


class Operation(Enum):
    """What failed."""

    BOOT = "make a process of a server that is not up yet"
    RESTORE = "make a process for a slot that nobody serves"
    REPLACE = "make the successor of a process that serves"
    CALLBACK = "make a process that runs an event of the manager's"
    STEP = "do one step of the manager's loop"
    LETTER = "write a dead letter"
    UNDO = "remove what the server made"


_NEVER_GIVEN_UP = frozenset({Operation.RESTORE, Operation.STEP})


def passes(code: int | None) -> bool:
    """Whether an error with this errno may be over at the next attempt. None: it has no errno."""
    return code in _PASSING


def lies_in_the_data(code: int | None) -> bool:
    """Whether it is what was to be written that cannot be, and not the place for it."""
    return code is None or code == errno.EINVAL


def code_of(error: BaseException) -> int | None:
    """Return the errno of an exception, None if it has none."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    return error.errno if isinstance(error, OSError) else None


def in_words(error: BaseException) -> str:
    """Return its text. A MemoryError has none; SQLite names its step (SQLITE_IOERR_WRITE) beside
    it, and keeps the errno.
    """
    step = getattr(error, "sqlite_errorname", None)
    return f"{error} ({step})" if step else str(error) or type(error).__name__


def pause_after(failures: int) -> float:
    """Return the seconds before the next attempt, after so many failures in a row."""
    return PAUSES[min(max(failures, 1), len(PAUSES)) - 1]


def decide(operation: Operation, code: int | None, failures: int) -> float | None:
    """Return the pause before the next attempt, after `failures` (1 or more) failures in a row, the
    last one with this errno; None: give it up.
    """
    if operation is Operation.UNDO:
        return None
    if operation in _NEVER_GIVEN_UP:
        return pause_after(failures)
    if operation is Operation.LETTER:
        if lies_in_the_data(code) and failures >= ATTEMPTS:
            return None
        return max(1.0, pause_after(failures))
    return pause_after(failures) if passes(code) and failures < ATTEMPTS else None

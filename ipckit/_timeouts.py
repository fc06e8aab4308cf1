"""What `timeout` may be in all of ipckit: seconds from now, 0 to try once, None for no limit.

Contract  a wrong timeout is TypeError or ValueError, before anything is done.
          Moments are of time.monotonic().
"""

from __future__ import annotations

from time import monotonic

__all__ = ["check_timeout", "deadline_of", "time_left"]


def check_timeout(timeout: float | None) -> None:
    """Refuse what cannot be a timeout: TypeError, ValueError."""
    if timeout is None:
        return
    if not isinstance(timeout, int | float):
        raise TypeError(f"timeout={timeout!r}: must be seconds, or None for no limit")
    if not timeout >= 0:
        raise ValueError(f"timeout={timeout!r}: must be seconds >= 0, or None for no limit")


def deadline_of(timeout: float | None) -> float | None:
    """Return the moment when `timeout` seconds are over; None: never. As `check_timeout`."""
    if timeout is None:
        return None
    check_timeout(timeout)
    return monotonic() + timeout


def time_left(deadline: float | None) -> float | None:
    """Return the seconds until `deadline`, 0.0 when it is over, None when there is none."""
    return None if deadline is None else max(0.0, deadline - monotonic())

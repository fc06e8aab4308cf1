"""Checks of what a program gives to the calls of a server: before anything changes. Pure."""

from __future__ import annotations

__all__ = ["check_callback", "check_timeout"]


def check_callback(callback: object, *, optional: bool = False) -> None:
    """Raise TypeError for what cannot be called."""
    if not callable(callback) and not (optional and callback is None):
        raise TypeError(f"callback must be callable, not {callback!r}")


def check_timeout(timeout: float | None) -> None:
    """Raise ValueError for what is no time limit."""
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and (not number or not timeout >= 0):
        raise ValueError(f"timeout={timeout!r}: must be None or a number of 0 or more seconds")

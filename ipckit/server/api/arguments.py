"""Checks of what a program gives to the calls of a server: before anything changes. Pure."""

from __future__ import annotations

__all__ = ["check_callback"]


def check_callback(callback: object, *, optional: bool = False) -> None:
    """Raise TypeError for what cannot be called."""
    if not callable(callback) and not (optional and callback is None):
        raise TypeError(f"callback must be callable, not {callback!r}")

"""`kill_point`: a name for a moment in one's own code at which the harness may act.

It costs one test of a global outside of the harness. Nothing else of `ipckit.testing` is loaded.
"""

from __future__ import annotations

from collections.abc import Callable

_acts: Callable[[str], None] | None = None


def kill_point(name: str) -> None:
    """Mark a moment at which the harness may kill, stop, delay or switch a process of its own.

    Anywhere else it does nothing and returns None. `name` is what a report calls it, and what
    ``Kill(at=name)`` asks for. Put it where a crash would hurt most: between two writes that belong
    together, after a lock was taken, before an acknowledgement is sent.
    """
    if _acts is not None:
        _acts(name)


def on_kill_points(acts: Callable[[str], None] | None) -> None:
    """Call `acts` with the name at every point that this process comes to; None: no longer."""
    global _acts
    _acts = acts

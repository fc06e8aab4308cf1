"""`kill_point`: a name for a moment in one's own code at which the harness may act.

Outside of the harness it costs two quick tests, of its argument and of a global. Nothing else of
`ipckit.testing` is loaded.
"""

from __future__ import annotations

from collections.abc import Callable

_acts: Callable[[str], None] | None = None


def kill_point(name: str) -> None:
    """Mark a moment at which the harness may kill, stop, delay or switch a process of its own.

    Anywhere else it does nothing and returns None. `name` is what a report calls it, and what
    ``Kill(at=name)`` asks for. Put it where a crash would hurt most: between two writes that belong
    together, after a lock was taken, before an acknowledgement is sent.
    TypeError: `name` is no str.
    """
    if not isinstance(name, str):
        raise TypeError(f"name={name!r}: must be a str, what a report is to call this moment")
    if _acts is not None:
        _acts(name)


def on_kill_points(acts: Callable[[str], None] | None) -> None:
    """Call `acts` with the name at every point that this process comes to; None: no longer."""
    global _acts
    _acts = acts

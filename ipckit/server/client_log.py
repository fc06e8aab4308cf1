"""What clients did wrong, in the log: few lines a second, so that no client can fill a disk with
them or hold up a worker that writes them to a slow terminal.
"""

from __future__ import annotations

from collections.abc import Callable

from ipckit.server.log import log

__all__ = ["ClientLog"]

_LINES_A_SECOND = 10


class ClientLog:
    """At most ten lines a second of one process, then how many there were beyond them.

    `later(seconds, call)` sets a timer.
    """

    def __init__(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._later = later
        self._lines = 0  # of the second that began with the first of them

    def warning(self, text: str, *args: object) -> None:
        """Log it as a warning, or count it."""
        if not self._lines:
            self._later(1.0, self.flush)
        self._lines += 1
        if self._lines <= _LINES_A_SECOND:
            log.warning(text, *args)

    def flush(self) -> None:
        """Say how many were left out."""
        more = self._lines - _LINES_A_SECOND
        self._lines = 0
        if more > 0:
            log.warning("%d more lines like these, about clients, were left out", more)

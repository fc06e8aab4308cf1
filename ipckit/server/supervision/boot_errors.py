"""Why processes did not boot, and the error of a server that does not come up. Pure."""

from __future__ import annotations

from ipckit.errors import BootFailed

__all__ = ["BootErrors"]


class BootErrors:
    """What the processes of one server said before they ended."""

    def __init__(self) -> None:
        self._tracebacks: dict[int, str] = {}  # by place
        self.refused: Exception | None = None
        """Why the last fork failed; None: it did not."""

    def told(self, place: int, traceback: str) -> None:
        """The process at a place says why it does not boot."""
        self._tracebacks[place] = traceback

    def forget(self, place: int) -> None:
        """The place gets another process."""
        self._tracebacks.pop(place, None)

    def of(self, place: int) -> str | None:
        """Return the traceback of the process at a place; None: it said nothing."""
        return self._tracebacks.get(place)

    def failure(self, place: int, why: str) -> BootFailed:
        """Return the error for start(), with the traceback of this place, or of any other one."""
        trace = self._tracebacks.get(place) or next(iter(self._tracebacks.values()), "")
        last = trace.strip().splitlines()[-1:] or [""]
        error = BootFailed(
            f"worker {place // 2}: {why}{': ' + last[0] if last[0] else ''}",
            worker_id=place // 2,
            remote_traceback=trace,
        )
        error.__cause__ = self.refused
        return error

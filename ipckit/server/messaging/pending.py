"""Frames from the manager to its processes that find no room, in order, until there is room.

Contract  send() does not wait, and loses nothing: what an inbox does not take now is kept and
          posted again by flush(), after what was kept for that place before.
Stands on ipckit.server.messaging.inbox.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from ipckit.server.messaging.inbox import Inbox
from ipckit.server.messaging.wire import Head

__all__ = ["PendingFrames"]


class PendingFrames:
    """Of one manager. One thread."""

    def __init__(self, inboxes: Sequence[Inbox], note: Callable[[str, Exception], None]) -> None:
        """`note`: takes what failed, and why."""
        self._inboxes = inboxes
        self._note = note
        self._frames: dict[int, deque[tuple[Head, bytes]]] = {}  # by place

    def __bool__(self) -> bool:
        return bool(self._frames)

    def send(self, place: int, head: Head, body: bytes = b"") -> None:
        """Post a frame to the process at a place, now or later."""
        self._frames.setdefault(place, deque()).append((head, body))
        self.flush()

    def flush(self) -> None:
        """Post what there is room for."""
        for place, frames in list(self._frames.items()):
            while frames and self._posted(place, *frames[0]):
                frames.popleft()
            if not frames:
                del self._frames[place]

    def _posted(self, place: int, head: Head, body: bytes) -> bool:
        try:
            return self._inboxes[place].post(head, body)
        except OSError as exc:  # no memory, or no descriptor for a long one
            self._note("posting to a worker", exc)
            return False

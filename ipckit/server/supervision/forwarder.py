"""What the manager posts to workers, and what it passes on of those that are dead.

Contract  tell() and pass_on() never wait: frames that find no room, and inboxes whose oldest frame
          waits for a free descriptor, are kept; run() tries them again while `waiting`.
Invariants
  F1  Frames for one place are posted in order (ipckit.server.messaging.pending).
  F2  DRAIN follows all frames that a dead process left, so its successor knows that there are no
      more.
  F3  No process reads an inbox whose frames are still being passed on: finish() comes before its
      fork.
Stands on ipckit.server.messaging.{inbox,pending}.
Crash     of the manager: what waits here goes with it, as the workers do.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ipckit.errors import from_errno
from ipckit.server.messaging.inbox import Inbox
from ipckit.server.messaging.pending import PendingFrames
from ipckit.server.messaging.wire import FORWARDED, WITH_FD, Head, Kind

__all__ = ["Forwarder"]


class Forwarder:
    """The manager's side of the workers' inboxes. `note` gets what failed and is tried again."""

    def __init__(self, inboxes: list[Inbox], note: Callable[[str, Exception], None]) -> None:
        self._inboxes = inboxes
        self._pending = PendingFrames(inboxes, note)
        self._unread: dict[int, int] = {}  # place of a dead process -> its successor

    @property
    def waiting(self) -> bool:
        """Whether run() has something to do."""
        return bool(self._pending or self._unread)

    def tell(self, place: int, head: Head, body: bytes = b"") -> None:
        """Post to a worker, now or later."""
        self._pending.send(place, head, body)

    def pass_on(self, place: int, successor: int) -> None:
        """Give the successor what the dead process of `place` has not read, now or later."""
        if self._inboxes[place] is not self._inboxes[successor]:  # task workers share theirs
            self._unread[place] = successor
            self._pass_on(place)

    def finish(self, place: int) -> None:
        """F3. SystemCallError: not yet."""
        if place in self._unread:
            self._pass_on(place)
        if place in self._unread:
            raise from_errno(
                "recvmsg", errno.EMFILE, "what a dead worker has not read is still to be passed on"
            )

    def run(self) -> None:
        """Try again."""
        for place in list(self._unread):
            self._pass_on(place)
        self._pending.flush()

    def _pass_on(self, place: int) -> None:
        inbox, successor = self._inboxes[place], self._unread[place]
        while (frame := inbox.take(connections=False)) is not None:
            head, body = frame
            if not head.flags & WITH_FD:  # else a connection; of each, the manager has a copy
                self.tell(successor, head._replace(flags=head.flags | FORWARDED), body)
        if not inbox.blocked:
            del self._unread[place]
            self.tell(successor, Head(Kind.DRAIN))

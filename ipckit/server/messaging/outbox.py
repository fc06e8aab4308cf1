"""What a worker has for another slot and its inboxes have no room for.

Contract  what is posted reaches the slot's processes in order, whichever place it is for, and
          whoever reads it: a frame that comes to a place after its process is dead and drained is
          made known to the other place, before anything that is posted later.
Stands on ipckit.server.messaging.{inbox,wire}, ipckit.server.shared.scoreboard, the worker's loop.
Blocks    never; flushed() waits on the loop.
Crash     of the worker: what waits here goes with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial

from ipckit.errors import QueueFull, SystemCallError
from ipckit.server.log import limited
from ipckit.server.messaging.inbox import Inbox
from ipckit.server.messaging.wire import FORWARDED, Head, Kind
from ipckit.server.shared.scoreboard import Row, Scoreboard

__all__ = ["Outbox", "Outboxes"]

_AGAIN = 0.05
"""Seconds until a frame is tried again for which there was no descriptor or memory."""

_KEEPS_ORDER = frozenset((Kind.CATCH_UP, Kind.CAUGHT_UP))


class Outbox:
    """What waits for room in the inboxes of one slot, in order and bounded.

    Of both its places: what goes to a successor must not overtake what goes to its predecessor.
    """

    def __init__(
        self,
        inboxes: Sequence[Inbox],
        board: Scoreboard,
        loop: asyncio.AbstractEventLoop,
        most: int,
    ) -> None:
        """inboxes: by place. most: bytes that may wait."""
        self._inboxes = inboxes
        self._board = board
        self._loop = loop
        self._most = most
        self._frames: deque[tuple[int, Head, bytes]] = deque()
        self._bytes = 0
        self.own = 0
        """How many of them are not passed on for others."""
        self._empty = asyncio.Event()
        self._full: Inbox | None = None  # whose room is waited for

    async def flushed(self) -> None:
        """Wait until nothing waits."""
        if self._frames:
            await self._empty.wait()

    @property
    def waiting(self) -> bool:
        """Whether anything waits."""
        return bool(self._frames)

    @property
    def count(self) -> int:
        """How many frames wait."""
        return len(self._frames)

    def post(self, place: int, head: Head, body: bytes) -> None:
        """Post now or later. Nothing was taken when it raises: QueueFull (over the bound),
        SystemCallError (no descriptor or memory for a large one).

        What is passed on for others, and what keeps it in order, has no bound: they had theirs.
        """
        bounded = not head.flags & FORWARDED and head.kind not in _KEEPS_ORDER
        try:
            if not self._frames and self._put(place, head, body):
                return
        except SystemCallError:
            if bounded:
                raise
        if bounded and self._bytes > self._most:
            raise QueueFull(
                11,
                f"{self._bytes} bytes wait for another worker's inbox (socket_buffer_size is "
                f"{self._most}): it does not read",
            )
        self._frames.append((place, head, body))
        self._bytes += len(body)
        self.own += not head.flags & FORWARDED
        self._empty.clear()
        self._wait_for(self._frames[0][0])

    def take_back(self) -> list[tuple[int, Head, bytes]]:
        """Return what waits, and forget it."""
        frames = list(self._frames)
        self._frames.clear()
        self._bytes = self.own = 0
        self.flush()
        return frames

    def flush(self) -> None:
        """Post what there is room for."""
        while self._frames:
            place, head, body = self._frames.popleft()
            try:
                posted = self._put(place, head, body)
            except SystemCallError as exc:  # no descriptor or memory for a large one
                limited.warning("what is sent to worker %d waits: %s", place // 2, exc)
                self._frames.appendleft((place, head, body))
                self._wait_for(-1)
                self._loop.call_later(_AGAIN, self.flush)
                return
            if not posted:
                self._frames.appendleft((place, head, body))
                self._wait_for(place)
                return
            self._bytes -= len(body)
            self.own -= not head.flags & FORWARDED
        self._wait_for(-1)
        self._empty.set()

    def _put(self, place: int, head: Head, body: bytes) -> bool:
        """Post to a place, and make known that it was one that nobody reads any more."""
        if not self._inboxes[place].post(head, body):
            return False
        if head.kind != Kind.DRAIN and not self._board.row(place // 2, place % 2)[Row.READS]:
            told = Head(Kind.DRAIN, number=1)
            if not self._inboxes[place ^ 1].post(told):
                self._frames.appendleft((place ^ 1, told, b""))  # before what is posted later
                self.own += 1
                self._wait_for(place ^ 1)
        return True

    def _wait_for(self, place: int) -> None:
        """Be called when that inbox has room; -1: never."""
        inbox = self._inboxes[place] if place >= 0 else None
        if inbox is self._full:
            return
        if self._full is not None:
            self._loop.remove_writer(self._full.writing.fileno())
        if inbox is not None:
            self._loop.add_writer(inbox.writing.fileno(), self.flush)
        self._full = inbox


class Outboxes:
    """What a process has for others, by their slots: an `Outbox` for each that it posted to."""

    def __init__(
        self,
        inboxes: Sequence[Inbox],
        board: Scoreboard,
        loop: asyncio.AbstractEventLoop,
        most: int,
    ) -> None:
        """As of Outbox(); `most` is for each."""
        self._make = partial(Outbox, inboxes, board, loop, most)
        self._of: dict[int, Outbox] = {}

    def post(self, place: int, head: Head, body: bytes) -> None:
        """Post now or later, in order. Raises as Outbox.post()."""
        outbox = self._of.get(place // 2)
        if outbox is None:
            outbox = self._of[place // 2] = self._make()
        outbox.post(place, head, body)

    def of(self, slot: int) -> Outbox | None:
        """Return that of a slot; None: nothing was ever posted there."""
        return self._of.get(slot)

    def flush(self) -> bool:
        """Post what there is room for; whether nothing is left.

        Not only when poll() says so: it does when three quarters are free, and an inbox that
        others fill as fast as it is read never is.
        """
        for outbox in self._of.values():
            outbox.flush()
        return not any(outbox.waiting for outbox in self._of.values())

    @property
    def count(self) -> int:
        """How many frames wait."""
        return sum(outbox.count for outbox in self._of.values())

    @property
    def own_frames_waiting(self) -> bool:
        """Whether something waits that this process sent, and did not only pass on."""
        return any(outbox.own for outbox in self._of.values())

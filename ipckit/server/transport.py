"""The roads by which tasks reach task workers: one seam, one class for each kind of road.

Contract  `send()` puts one task's message on the road, or says that there is no room; it never
          waits. `take()` takes at most one message, for a process that will run it at once:
          nobody hoards. A message may be lost with the process that took it, or be sent twice;
          the task's state word decides, not the message.
Stands on ipckit.queue, ipckit.server.{inbox,spill,wire}, ipckit.kinds.
Fork      made by the manager before the first fork; a task worker calls `open_taking()` for what
          only its own process can have (the relay threads).
Types in the queue  other programs use task worker + 1, or ANY_TASK_WORKER (mode 3: any type). Our
          own messages have types from OWN on, so that a task worker with no room for a foreign
          task can still take our own, whose room was made by their submitter.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ipckit.errors import QueueEmpty, QueueFull, QueueRemoved
from ipckit.kinds import ANY_TASK_WORKER
from ipckit.queue import Message, QueueRelay, Seen, SysvQueue
from ipckit.queue.calls import copy_message
from ipckit.server.inbox import Inbox
from ipckit.server.spill import SpillDirectory
from ipckit.server.wire import (
    HEAD_SIZE,
    SEAL_OVERHEAD,
    SPILLED,
    Head,
    decode_head,
    encode_head,
    seal,
    unseal,
)

__all__ = ["OWN", "ForeignMessage", "OwnMessage", "QueueRoad", "SocketRoad", "TaskTransport"]

OWN = 1 << 30
_OWN_ANY = OWN
_EMPTY = "an empty message is no task"


class OwnMessage(NamedTuple):
    """A task of one of our workers."""

    head: Head
    body: bytes


class ForeignMessage(NamedTuple):
    """A message that is not under our seal: checked for nothing yet."""

    type: int
    body: bytes
    refuse: str = ""  # why it cannot be a task


class TaskTransport(Protocol):
    """What a road does, for workers (lane, send, room_fd, forget) and task workers (the rest)."""

    def lane(self, dst: int) -> int:
        """Return which tasks share room with those for `dst`."""

    def readers(self, dst: int) -> range:
        """Return the task workers that may take a task for `dst`."""

    def send(self, head: Head, body: bytes, dst: int) -> bool:
        """Put a task's message on the road; False: no room now, nothing was sent."""

    def room_fd(self, lane: int) -> int:
        """Return the descriptor that is writable when the lane has room; -1: there is none."""

    def forget(self, task_id: int) -> None:
        """Remove what send() left beside the road for a task that is over."""

    def open_taking(self, task_worker: int) -> Sequence[int]:
        """In a task worker, once: return the descriptors that tell of messages."""

    def take(self, *, foreign: bool) -> OwnMessage | ForeignMessage | None:
        """Take one message, a foreign one only if allowed; None: there is none."""

    def prepare_wait(self, *, foreign: bool) -> None:
        """Make the descriptors tell of every message that is or will be there."""

    def close(self) -> None:
        """Close what this process has of it."""

    def remove(self) -> None:
        """Remove it from the kernel and close it. By the manager."""


class SocketRoad:
    """Mode 1: the task worker's own inbox, or one socket that all idle ones read."""

    def __init__(self, inboxes: Sequence[Inbox]) -> None:
        self._inboxes = inboxes  # of the task workers, in their order; not ours
        self._any = Inbox()

    def lane(self, dst: int) -> int:
        """Return `dst`: every socket has room of its own."""
        return dst

    def readers(self, dst: int) -> range:
        """Return the task workers that may take a task for `dst`."""
        return range(dst, dst + 1) if dst >= 0 else range(len(self._inboxes))

    def send(self, head: Head, body: bytes, dst: int) -> bool:
        """Put the message into the socket of `dst`."""
        return self._to(dst).post(head, body)

    def room_fd(self, lane: int) -> int:
        """Return the sending end."""
        return self._to(lane).writing.fileno()

    def forget(self, task_id: int) -> None:
        """Nothing lies beside this road."""

    def open_taking(self, task_worker: int) -> Sequence[int]:
        """Return the socket for all; the inbox is waited for anyway."""
        del task_worker
        return [self._any.reading.fileno()]

    def take(self, *, foreign: bool) -> OwnMessage | None:
        """Take from the socket for all. There are no foreign messages on this road."""
        del foreign
        taken = self._any.take()
        return None if taken is None else OwnMessage(*taken)

    def prepare_wait(self, *, foreign: bool) -> None:
        """A socket needs nothing."""

    def close(self) -> None:
        """Close the socket for all."""
        self._any.close()

    def remove(self) -> None:
        """As close()."""
        self._any.close()

    def _to(self, dst: int) -> Inbox:
        return self._inboxes[dst] if dst >= 0 else self._any


class _Source(NamedTuple):
    """One choice of messages that a task worker takes from the queue."""

    type: int
    exclude: bool
    foreign: bool


class QueueRoad:
    """Modes 2 (addressed) and 3 (contended): a System V queue that other programs may use too."""

    def __init__(
        self,
        queue: SysvQueue,
        task_workers: int,
        spill: SpillDirectory,
        key: bytes,
        *,
        contended: bool,
    ) -> None:
        self.queue = queue
        self.contended = contended
        self._task_workers = task_workers
        self._spill = spill
        self._key = key
        self._sources: list[_Source] = []
        self._relays: list[QueueRelay] = []
        self._turn = 0
        self._refused: list[ForeignMessage] = []
        # A longer body goes to a spill file. Half of the queue, so that two fit.
        self._most = min(queue.statistics().max_bytes // 2, _msgmax()) - SEAL_OVERHEAD - HEAD_SIZE

    def lane(self, dst: int) -> int:
        """Return 0: all tasks share the bytes of one queue."""
        del dst
        return 0

    def readers(self, dst: int) -> range:
        """Return the task workers that may take a task for `dst`; contended: all of them."""
        if dst < 0 or self.contended:
            return range(self._task_workers)
        return range(dst, dst + 1)

    def send(self, head: Head, body: bytes, dst: int) -> bool:
        """Put the sealed message into the queue, its body into a spill file if it is long."""
        if len(body) > self._most:
            self._spill.write(head.ident, body)
            head = head._replace(flags=head.flags | SPILLED, number=len(body))
            body = b""
        message = seal(self._key, encode_head(head) + body)
        kind = _OWN_ANY if dst < 0 or self.contended else OWN + dst + 1
        try:
            self.queue.send_nowait(message, type=kind)
        except QueueFull:
            return False
        return True

    def room_fd(self, lane: int) -> int:
        """Return -1: who takes a message rings (Board.want_room)."""
        del lane
        return -1

    def forget(self, task_id: int) -> None:
        """Remove the spill file, if there is one."""
        self._spill.remove(task_id)

    def open_taking(self, task_worker: int) -> Sequence[int]:
        """Start one relay for each choice of messages; return their descriptors."""
        if self.contended:
            choices = [(_OWN_ANY, False, False), (_OWN_ANY, True, True)]
        else:
            mine = task_worker + 1
            choices = [
                (OWN + mine, False, False),
                (_OWN_ANY, False, False),
                (mine, False, True),
                (ANY_TASK_WORKER, False, True),
            ]
        self._sources = [_Source(*choice) for choice in choices]
        self._relays = [
            QueueRelay(self.queue.id, type=source.type, exclude=source.exclude)
            for source in self._sources
        ]
        return [relay.fileno() for relay in self._relays]

    def take(self, *, foreign: bool) -> OwnMessage | ForeignMessage | None:
        """Take one message; the choices take turns, so none can starve another."""
        if self._refused:
            return self._refused.pop()
        while (message := self._receive(foreign=foreign)) is not None:
            judged = self._judge(message.type, message.body)
            if judged is not None:
                return judged
        return None

    def _receive(self, *, foreign: bool) -> Message | None:
        count = len(self._sources)
        for step in range(count):
            source = self._sources[(self._turn + step) % count]
            if source.foreign and not foreign:
                continue
            try:
                message = self.queue.receive_nowait(type=source.type, exclude=source.exclude)
            except QueueEmpty:
                continue
            self._turn = (self._turn + step + 1) % count
            return message
        return None

    def prepare_wait(self, *, foreign: bool) -> None:
        """Collect what the relays saw, and arm them."""
        for source, relay in zip(self._sources, self._relays, strict=True):
            seen = relay.collect()
            if seen.seen == Seen.EMPTY:
                self._refused.append(ForeignMessage(seen.type, b"", _EMPTY))
            if foreign or not source.foreign:
                relay.arm()

    def take_unserved(self) -> ForeignMessage | None:
        """Take a message of a type that no task worker ever takes; None: there is none."""
        if self.contended:
            return None
        index = 0
        while (seen := copy_message(self.queue.id, index)) is not None:
            if not self._served(seen.type):
                try:
                    message = self.queue.receive_nowait(type=seen.type)
                except QueueEmpty:
                    continue
                return ForeignMessage(message.type, message.body, self._no_server(message.type))
            index += 1
        return None

    def close(self) -> None:
        """End the relay threads of this process."""
        for relay in self._relays:
            relay.close()
        self._relays, self._sources = [], []

    def remove(self) -> None:
        """Remove the queue and the spill files. Harmless when somebody removed the queue before."""
        self.close()
        with contextlib.suppress(QueueRemoved):
            self.queue.remove()
        self._spill.destroy()

    def _served(self, kind: int) -> bool:
        mine = kind - OWN if OWN < kind < ANY_TASK_WORKER else kind
        return mine <= self._task_workers or kind in (_OWN_ANY, ANY_TASK_WORKER)

    def _no_server(self, kind: int) -> str:
        return (
            f"no task worker takes type {kind}: use 1..{self._task_workers} (task worker + 1) "
            f"or {ANY_TASK_WORKER} for any"
        )

    def _judge(self, kind: int, body: bytes) -> OwnMessage | ForeignMessage | None:
        """Return what the message is; None: a copy that nobody needs."""
        if not body:
            return ForeignMessage(kind, body, _EMPTY)
        frame = unseal(self._key, body)
        if frame is None:
            ours = kind >= OWN and kind != ANY_TASK_WORKER
            return ForeignMessage(
                kind, body, "its type is kept for the server itself" if ours else ""
            )
        head = decode_head(frame)
        if not head.flags & SPILLED:
            return OwnMessage(head, frame[HEAD_SIZE:])
        spilled = self._spill.read(head.ident, head.number)
        # No file: the task is over, and this was a second copy of its message.
        return None if spilled is None else OwnMessage(head, spilled)


def _msgmax() -> int:
    with open("/proc/sys/kernel/msgmax", encoding="ascii") as file:
        return int(file.read())

"""Tasks of other programs: messages in the System V queue of modes 2 and 3.

Contract  a message is taken only with a record of the ledger in hand, so a full ledger leaves it
          in the queue; waiting for one takes nothing. What is not PHP's serialize text, or of a
          type that nobody serves, is refused, with the reason.
Types     task worker + 1, or ANY_TASK_WORKER; mode 3: any type.
Stands on ipckit.queue, ipckit.kinds.
Fork      `ForeignQueue` is made by the manager; a task worker takes from it by a `ForeignTaker` of
          its own, whose relay threads no other process has.
Invariants
  Q1  When the queue is removed, or its rights are taken away, foreign tasks are affected and
      nothing else (D22). Every call here may find that, at any moment, and none of them raises it.
Crash     a message taken and not yet entered in the ledger is lost with its taker: at most one.
"""

from __future__ import annotations

import contextlib
import errno
from typing import NamedTuple, cast

from ipckit.errors import AccessDenied, IPCError, QueueEmpty, QueueRemoved
from ipckit.kinds import ANY_TASK_WORKER
from ipckit.queue import Message, QueueRelay, Seen, SysvQueue, php_format
from ipckit.queue.sysv_calls import copy_message
from ipckit.server.log import log

__all__ = ["ForeignQueue", "ForeignTaker", "Refused"]

_EMPTY = "an empty message is no task"
_LOST = (QueueRemoved, AccessDenied)
"""Q1. What a call raises from then on."""


class Refused(NamedTuple):
    """A message that is no task, and why."""

    type: int
    size: int
    why: str


class ForeignQueue:
    """The queue, for the whole server."""

    def __init__(self, queue: SysvQueue, task_workers: int, *, contended: bool) -> None:
        self.queue = queue
        self.task_workers = task_workers
        self.contended = contended

    def dst_of(self, kind: int) -> int:
        """Return the task worker that a type asks for, -1: any."""
        return -1 if self.contended or kind == ANY_TASK_WORKER else kind - 1

    def refuse(self, message: Message) -> Refused | None:
        """Return why a message cannot be a task; None: it can."""
        why = ""
        if not message.body:
            why = _EMPTY
        elif not self.contended and not self._served(message.type):
            why = (
                f"no task worker takes type {message.type}: use 1..{self.task_workers} "
                f"(task worker + 1) or {ANY_TASK_WORKER} for any"
            )
        else:
            try:
                php_format.loads(message.body)
            except ValueError as exc:
                why = f"it is not PHP's serialize text ({exc})"
        return Refused(message.type, len(message.body), why) if why else None

    def take_unserved(self) -> Message | None:
        """Take a message of a type that no task worker ever takes; None: there is none."""
        if self.contended:
            return None
        index = 0
        with contextlib.suppress(*_LOST):  # Q1; the ForeignTaker logs it
            while (seen := copy_message(self.queue.id, index)) is not None:
                if not self._served(seen.type):
                    try:
                        return self.queue.receive_nowait(type=seen.type)
                    except QueueEmpty:
                        continue
                index += 1
        return None

    def remove(self) -> None:
        """Remove the queue. Harmless when somebody removed it before."""
        try:
            self.queue.remove()
        except QueueRemoved:
            pass
        except IPCError as exc:  # Q1: somebody gave it to another user
            log.warning("the message queue stays: %s", exc)

    def _served(self, kind: int) -> bool:
        return kind <= self.task_workers or kind == ANY_TASK_WORKER


class ForeignTaker:
    """What one task worker takes from the queue. One process, one thread."""

    def __init__(self, foreign: ForeignQueue, task_worker: int) -> None:
        self._queue = foreign.queue
        self._types = [0] if foreign.contended else [task_worker + 1, ANY_TASK_WORKER]
        self._relays = [QueueRelay(self._queue.id, type=kind) for kind in self._types]
        self._turn = 0
        self._empty: list[Message] = []
        self._gone = False  # Q1

    def filenos(self) -> list[int]:
        """Return descriptors that are readable when there may be something."""
        return [relay.fileno() for relay in self._relays]

    def take(self) -> Message | None:
        """Take one message; the types take turns. None: there is none."""
        if self._empty:
            return self._empty.pop()
        for step in range(len(self._types)):
            at = (self._turn + step) % len(self._types)
            message = self._queue._take_now(self._types[at])  # mostly there is none: no exception
            if message.__class__ is int:
                if message == -errno.ENOMSG:
                    continue
                try:
                    message = self._queue.receive_nowait(type=self._types[at])
                except QueueEmpty:
                    continue
                except _LOST as exc:
                    self._lost(exc)
                    return None
            self._turn = at + 1
            return cast("Message", message)
        return None

    def _lost(self, why: object) -> None:
        if not self._gone:
            self._gone = True
            log.error(
                "the message queue was removed, or its rights were taken away: no program can post "
                "tasks any more; restart the server (%s)",
                why,
            )

    def prepare_wait(self) -> bool:
        """Make the descriptors tell of every message that is or will be there.

        Returns whether one was taken by this call: then do not wait.
        """
        self.rest()
        for relay in self._relays:
            if not self._gone:
                relay.arm()
        return bool(self._empty)

    def rest(self) -> None:
        """Collect what the relays saw, and leave them unarmed: nothing can be taken now."""
        for relay in self._relays:
            seen = relay.collect()
            if seen.seen == Seen.EMPTY:
                self._empty.append(Message(seen.type, b""))
            elif seen.seen == Seen.GONE:
                self._lost(f"queue id {self._queue.id}")

    def close(self) -> None:
        """End the relay threads of this process."""
        for relay in self._relays:
            relay.close()

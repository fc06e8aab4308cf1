"""What a shared queue tells of itself: numbers, leases, and its dead messages.

Contract  docs/contracts/shared-queue.md.
Stands on ipckit._core._shared_queue, ipckit.errors, ipckit.queue.shared_contract.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ipckit._core._shared_queue import Queue
from ipckit.errors import NotFound
from ipckit.queue.shared_contract import age_of

__all__ = [
    "DeadMessage",
    "DeadMessages",
    "DeadObject",
    "DeadObjects",
    "LeaseHolder",
    "SharedStatistics",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedStatistics:
    """How a shared queue stands. Sizes in bytes."""

    messages: int
    """Those that a receiver can have now."""
    leased: int
    delayed: int
    """Given back with a delay that is not over."""
    dead: int
    max_messages: int
    max_bytes: int
    free_bytes: int
    """Of max_bytes: what bodies over 192 bytes may still take."""
    oldest_age: float | None
    """Seconds since the oldest message was sent that is not dead; None: there is none."""
    sent: int
    """Messages since the queue was made."""
    redelivered: int
    """Leases since then that were not their message's first."""
    memory_size: int
    """Of the segment."""


class LeaseHolder(NamedTuple):
    """A message that is leased."""

    thread_id: int
    """gettid(2) in the pid namespace of its process; of a main thread the process id."""
    attempt: int
    size: int
    """Bytes of the body."""
    age: float
    """Seconds since it was sent."""


class DeadMessage(NamedTuple):
    """A message whose attempts are over."""

    id: int
    """What retry() and remove() take; no other message of this queue has it."""
    attempts: int
    body: bytes
    age: float
    """Seconds since it was sent."""


class DeadMessages:
    """The dead messages of a queue. Process safe; iteration gives the oldest first."""

    def __init__(self, queue: Queue) -> None:
        """Use SharedQueue.dead instead."""
        self._queue = queue

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._queue._dead())

    def __iter__(self) -> Iterator[DeadMessage]:
        """Give each one with a copy of its body, unless it is removed during the iteration."""
        for name, _, attempts, _, sent_ns in sorted(self._queue._dead()):
            body = self._queue._dead_body(name)
            if body is not None:
                yield DeadMessage(name, attempts, body, age_of(sent_ns))

    def __getitem__(self, message_id: int) -> DeadMessage:
        """Return one; NotFound."""
        for message in self._queue._dead():
            name, _, attempts, _, sent_ns = message
            if name == message_id:
                body = self._queue._dead_body(name)
                if body is not None:
                    return DeadMessage(name, attempts, body, age_of(sent_ns))
        raise _no_message(message_id)

    def retry(self, message_id: int) -> None:
        """Put one back into its old place, with no attempt counted. NotFound."""
        if not self._queue._retry(message_id):
            raise _no_message(message_id)

    def remove(self, message_id: int) -> None:
        """Remove one for good; its memory is free. NotFound."""
        if not self._queue._discard(message_id):
            raise _no_message(message_id)


@dataclass(frozen=True, slots=True)
class DeadObject:
    """An object whose attempts are over."""

    id: int
    """What retry() and remove() take; no other object of this queue has it."""
    attempts: int
    body: bytes
    """The object as it was sent."""
    age: float
    """Seconds since it was put."""
    _load: Callable[[bytes], Any] = field(repr=False)

    @property
    def obj(self) -> Any:
        """The object, read again each time. Raises what the unpickling raises."""
        return self._load(self.body)


class DeadObjects:
    """The dead objects of a queue. Process safe; iteration gives the oldest first."""

    def __init__(self, queue: Queue, load: Callable[[bytes], Any]) -> None:
        """Use ObjectQueue.dead instead."""
        self._messages = DeadMessages(queue)
        self._load = load

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._messages)

    def __iter__(self) -> Iterator[DeadObject]:
        """Give each one, unless it is removed during the iteration."""
        for message in self._messages:
            yield DeadObject(*message, self._load)

    def __getitem__(self, object_id: int) -> DeadObject:
        """Return one; NotFound."""
        return DeadObject(*self._messages[object_id], self._load)

    def retry(self, object_id: int) -> None:
        """Put one back into its old place, with no attempt counted. NotFound."""
        self._messages.retry(object_id)

    def remove(self, object_id: int) -> None:
        """Remove one for good; its memory is free. NotFound."""
        self._messages.remove(object_id)


def _no_message(message_id: int) -> NotFound:
    return NotFound(
        errno.ENOENT,
        f"the queue has no dead message {message_id!r}: it was retried or removed before; "
        f"iterate over queue.dead",
    )

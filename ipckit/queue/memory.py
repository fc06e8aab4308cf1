"""Queues in the memory of one process: the references that the real ones are held against.

Contract  docs/contracts/queue.md. Obvious rather than fast: a list, a lock, a search.
Stands on ipckit.errors, ipckit._timeouts, ipckit.queue.contract.
Outlives  nothing.
"""

# ruff: noqa: A002  (`type` is the kernel's word and the API's)

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable
from typing import ClassVar

from ipckit._closing import Closing
from ipckit._timeouts import deadline_of, time_left
from ipckit.errors import (
    IPCError,
    MessageTooLarge,
    MisuseError,
    NotFound,
    QueueEmpty,
    QueueFull,
    QueueRemoved,
)
from ipckit.queue.contract import (
    MAX_PRIORITY,
    Body,
    Message,
    Statistics,
    as_bytes,
    check_choice,
    check_number,
    check_settings,
    check_type,
    fits,
)

__all__ = ["MemoryPriorityQueue", "MemoryQueue"]

_FULL = "receive some, or wait longer"
_EMPTY = "send one first, or wait longer"
_PAUSE = 0.001  # seconds between two tries of asend and areceive


class _Waiting(Closing):
    """What both have: messages under one lock, and waits until something changed."""

    _SHARED: ClassVar[str]
    """The class that processes can share."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._changed = threading.Condition()
        self._closed = False
        self._removed = False

    def __reduce__(self) -> str:
        """Refuse: no other process can reach it."""
        raise TypeError(
            f"cannot pickle {type(self).__name__!r} object: it is in the memory of one process; "
            f"share a {self._SHARED} instead"
        )

    def _open(self) -> None:
        if self._closed:
            raise MisuseError("this queue object is closed; make a new one")

    def _wait(self, deadline: float | None) -> bool:
        """Wait for a change, the lock being held; False when the time is over."""
        left = time_left(deadline)
        return left != 0 and self._changed.wait(left)

    def _send(self, deadline: float | None, send_nowait: Callable[[], None]) -> None:
        """Try to send until there is room, or raise QueueFull when the time is over."""
        with self._changed:
            while True:
                try:
                    return send_nowait()
                except QueueFull:
                    if not self._wait(deadline):
                        raise

    def close(self) -> None:
        """Let go of the queue; again: nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """Return how many messages wait now."""
        with self._changed:
            self._open()
            return len(self._messages)

    def __bool__(self) -> bool:
        """Be true, also when empty."""
        return True


class MemoryQueue(_Waiting):
    """SysvQueue's reference: the same calls, rules and errors, in one process.

    Thread safe, not process safe: a fork gives the child a copy of its own.
    """

    key: None = None
    """As a private queue has none."""
    _SHARED = "SysvQueue"

    def __init__(self, *, max_bytes: int = 16384, max_message: int = 8192) -> None:
        """Make a queue for `max_bytes` of bodies, and for bodies of at most `max_message` bytes."""
        super().__init__()
        check_settings(None, None, None, max_bytes)
        check_number("max_message", max_message, 0, 2**31 - 1)
        self._max_bytes = max_bytes
        self._max_message = max_message
        self._mode, self._uid, self._gid = 0o600, os.geteuid(), os.getegid()
        self._sender = self._receiver = 0
        self._sent_at = self._received_at = 0.0
        self._changed_at = _now()

    @property
    def id(self) -> int:
        """No kernel has a number for it: 0."""
        self._open()
        return 0

    def send(self, body: Body, *, type: int = 1, timeout: float | None = None) -> None:
        """As SysvQueue.send()."""
        deadline = deadline_of(timeout)
        self._send(deadline, lambda: self.send_nowait(body, type=type))

    def send_nowait(self, body: Body, *, type: int = 1) -> None:
        """As SysvQueue.send_nowait()."""
        body = as_bytes(body)
        check_type(type)
        with self._changed:
            self._open()
            if len(body) > self._max_message:
                raise _too_large(len(body), "max_message", self._max_message)
            if self._removed:
                raise _removed()
            if len(body) > self._max_bytes:
                raise _too_large(len(body), "max_bytes", self._max_bytes)
            if self._bytes() + len(body) > self._max_bytes:
                raise QueueFull(
                    errno.EAGAIN,
                    f"{len(body)} bytes do not fit beside {self._bytes()}, max_bytes is "
                    f"{self._max_bytes}; {_FULL}",
                )
            if len(self._messages) + 1 > self._max_bytes:
                raise QueueFull(
                    errno.EAGAIN,
                    f"{len(self._messages)} messages wait, max_bytes is {self._max_bytes}; {_FULL}",
                )
            self._messages.append(Message(type, body))
            self._sender, self._sent_at = os.getpid(), _now()
            self._changed.notify_all()

    def receive(
        self,
        *,
        type: int = 0,
        exclude: bool = False,
        max_size: int | None = None,
        truncate: bool = False,
        timeout: float | None = None,
    ) -> Message:
        """As SysvQueue.receive()."""
        deadline = deadline_of(timeout)
        with self._changed:
            while True:
                try:
                    return self.receive_nowait(
                        type=type, exclude=exclude, max_size=max_size, truncate=truncate
                    )
                except QueueEmpty:
                    if not self._wait(deadline):
                        raise

    def receive_nowait(
        self,
        *,
        type: int = 0,
        exclude: bool = False,
        max_size: int | None = None,
        truncate: bool = False,
    ) -> Message:
        """As SysvQueue.receive_nowait()."""
        check_choice(type, exclude, max_size)
        with self._changed:
            self._open()
            if self._removed:
                raise _removed()
            fitting = [message for message in self._messages if fits(message.type, type, exclude)]
            if not fitting:
                raise QueueEmpty(errno.ENOMSG, f"no message for type={type} came in time; {_EMPTY}")
            # min() takes the first of equals: the oldest (Q1).
            chosen = min(fitting, key=lambda m: m.type) if type < 0 else fitting[0]
            if max_size is not None and len(chosen.body) > max_size and not truncate:
                raise MessageTooLarge(
                    errno.E2BIG, f"{len(chosen.body)} bytes, max_size is {max_size}; it stays"
                )
            self._messages = [message for message in self._messages if message is not chosen]
            self._receiver, self._received_at = os.getpid(), _now()
            self._changed.notify_all()
            return Message(chosen.type, chosen.body[:max_size])

    async def asend(
        self,
        body: Body,
        *,
        type: int = 1,
        timeout: float | None = None,  # noqa: ASYNC109  (the API's: the same as send())
    ) -> None:
        """As SysvQueue.asend()."""
        deadline = deadline_of(timeout)
        while True:
            try:
                return self.send_nowait(body, type=type)
            except QueueFull:
                if time_left(deadline) == 0:
                    raise
            await asyncio.sleep(_PAUSE)

    async def areceive(
        self,
        *,
        type: int = 0,
        exclude: bool = False,
        max_size: int | None = None,
        truncate: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Message:
        """As SysvQueue.areceive()."""
        deadline = deadline_of(timeout)
        while True:
            try:
                return self.receive_nowait(
                    type=type, exclude=exclude, max_size=max_size, truncate=truncate
                )
            except QueueEmpty:
                if time_left(deadline) == 0:
                    raise
            await asyncio.sleep(_PAUSE)

    def statistics(self) -> Statistics:
        """As SysvQueue.statistics()."""
        with self._changed:
            self._open()
            if self._removed:
                raise _removed()
            return Statistics(
                messages=len(self._messages),
                bytes=self._bytes(),
                max_bytes=self._max_bytes,
                mode=self._mode,
                uid=self._uid,
                gid=self._gid,
                last_sender_pid=self._sender,
                last_receiver_pid=self._receiver,
                sent_at=self._sent_at,
                received_at=self._received_at,
                changed_at=self._changed_at,
            )

    def set(
        self,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        """As SysvQueue.set(); rights and owner are kept and mean nothing."""
        check_settings(mode, uid, gid, max_bytes)
        with self._changed:
            self._open()
            if self._removed:
                raise _removed()
            self._mode = self._mode if mode is None else mode
            self._uid = self._uid if uid is None else uid
            self._gid = self._gid if gid is None else gid
            self._max_bytes = self._max_bytes if max_bytes is None else max_bytes
            self._changed_at = _now()
            self._changed.notify_all()

    def remove(self) -> None:
        """As SysvQueue.remove()."""
        with self._changed:
            self._open()
            if self._removed:
                raise _removed()
            self._removed = True
            self._messages.clear()
            self._changed.notify_all()

    def __len__(self) -> int:
        """Return how many messages wait now."""
        return self.statistics().messages

    def _bytes(self) -> int:
        return sum(len(message.body) for message in self._messages)


class MemoryPriorityQueue(_Waiting):
    """PosixQueue's reference: the same calls, rules and errors, in one process.

    Thread safe, not process safe: a fork gives the child a copy of its own.
    """

    _SHARED = "PosixQueue"

    def __init__(self, *, max_messages: int = 10, max_message_size: int = 8192) -> None:
        """Make a queue for `max_messages` of at most `max_message_size` bytes each."""
        super().__init__()
        check_number("max_messages", max_messages, 1, 2**31 - 1)
        check_number("max_message_size", max_message_size, 1, 2**31 - 1)
        self._max_messages = max_messages
        self._max_size = max_message_size

    def send(self, body: Body, *, priority: int = 0, timeout: float | None = None) -> None:
        """As PosixQueue.send()."""
        deadline = deadline_of(timeout)
        self._send(deadline, lambda: self.send_nowait(body, priority=priority))

    def send_nowait(self, body: Body, *, priority: int = 0) -> None:
        """As PosixQueue.send_nowait()."""
        body = as_bytes(body)
        check_number("priority", priority, 0, MAX_PRIORITY)
        with self._changed:
            self._open()
            if len(body) > self._max_size:
                raise _too_large(len(body), "max_message_size", self._max_size)
            if len(self._messages) >= self._max_messages:
                raise QueueFull(
                    errno.EAGAIN,
                    f"{len(body)} bytes beside {self._max_messages} messages, which are all; "
                    f"{_FULL}",
                )
            self._messages.append(Message(priority, body))
            self._changed.notify_all()

    def receive(self, *, timeout: float | None = None) -> Message:
        """As PosixQueue.receive()."""
        deadline = deadline_of(timeout)
        with self._changed:
            while True:
                try:
                    return self.receive_nowait()
                except QueueEmpty:
                    if not self._wait(deadline):
                        raise

    def receive_nowait(self) -> Message:
        """As PosixQueue.receive_nowait()."""
        with self._changed:
            self._open()
            if not self._messages:
                raise QueueEmpty(errno.EAGAIN, f"no message came in time; {_EMPTY}")
            # max() takes the first of equals: the oldest (Q1).
            at = max(range(len(self._messages)), key=lambda i: self._messages[i].type)
            self._changed.notify_all()
            return self._messages.pop(at)

    async def asend(
        self,
        body: Body,
        *,
        priority: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> None:
        """As PosixQueue.asend()."""
        deadline = deadline_of(timeout)
        while True:
            try:
                return self.send_nowait(body, priority=priority)
            except QueueFull:
                if time_left(deadline) == 0:
                    raise
            await asyncio.sleep(_PAUSE)

    async def areceive(self, *, timeout: float | None = None) -> Message:  # noqa: ASYNC109
        """As PosixQueue.areceive()."""
        deadline = deadline_of(timeout)
        while True:
            try:
                return self.receive_nowait()
            except QueueEmpty:
                if time_left(deadline) == 0:
                    raise
            await asyncio.sleep(_PAUSE)

    def remove(self) -> None:
        """As PosixQueue.remove(): the name goes, an open queue stays usable."""
        with self._changed:
            self._open()
            if self._removed:
                raise NotFound(errno.ENOENT, "the name was removed before")
            self._removed = True

    unlink = remove


def _now() -> float:
    return float(int(time.time()))  # the kernel counts whole seconds here


def _removed() -> QueueRemoved:
    return QueueRemoved(errno.EIDRM, "the queue was removed; make a new one")


def _too_large(size: int, name: str, limit: int) -> IPCError:
    return MessageTooLarge(
        errno.EMSGSIZE, f"{size} bytes in one message, {name} is {limit}: send less"
    )

"""One direction of a channel end: one call at a time in it, and how that call waits.

Invariants
  S1  `waiter` is set exactly while a coroutine waits in `ready()`; it names the process, because
      after a fork the loop's epoll is the parent's too, and the child must not touch it.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable

from ipckit.errors import MisuseError

__all__ = ["Side"]


class Side:
    """The state of one direction; `event` is what poll(2) waits for in it."""

    __slots__ = ("_lock", "_loop", "busy", "event", "poll", "torn", "verb", "waiter")

    def __init__(self, verb: str, event: int) -> None:
        self.verb = verb
        self.event = event
        self.busy = False
        self.torn = False
        self.poll: select.poll | None = None  # made by the first wait
        self.waiter: tuple[int, asyncio.Future[None], Callable[[int], object]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()

    def lock(self) -> asyncio.Lock:
        """Return the lock of the running loop (C11); a channel may outlive a loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock

    def wait(self, sock: socket.socket, milliseconds: float | None) -> bool:
        """Wait until the socket is ready; return whether it is. None: no limit."""
        poll = self.poll
        if poll is None:
            poll = self.poll = select.poll()
            poll.register(sock, self.event)
        return bool(poll.poll(milliseconds))  # goes on by itself after a signal, with the time left

    async def ready(self, sock: socket.socket) -> None:
        """Wait in the running loop until the socket is ready. MisuseError: it was closed."""
        loop = asyncio.get_running_loop()
        fd = sock.fileno()
        future: asyncio.Future[None] = loop.create_future()
        if self.event == select.POLLIN:
            loop.add_reader(fd, _wake, future)
            remove: Callable[[int], object] = loop.remove_reader
        else:
            loop.add_writer(fd, _wake, future)
            remove = loop.remove_writer
        self.waiter = (os.getpid(), future, remove)
        try:
            await future
        finally:
            self.waiter = None
            if sock.fileno() == fd:
                remove(fd)

    def end_wait(self, sock: socket.socket) -> None:
        """Raise MisuseError in the coroutine that waits, as the socket is about to be closed."""
        if self.waiter is None or self.waiter[0] != os.getpid():  # S1
            return
        _, future, remove = self.waiter
        remove(sock.fileno())
        if not future.done():
            future.set_exception(MisuseError(f"{self.verb}: the channel was closed"))


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

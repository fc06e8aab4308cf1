"""asend and areceive at a descriptor: in order, one of each event loop at it.

Contract  a call that waits is woken when the descriptor is ready, and then tries again.
Stands on asyncio, ipckit.errors.
Fork      those that wait are the parent's; a child begins with none.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable

from ipckit.errors import MisuseError

__all__ = ["DescriptorWaits"]

_Remove = Callable[[int], object]
_Wait = tuple[asyncio.Future[None], _Remove, int]


class DescriptorWaits:
    """The calls that wait for one direction in event loops; one at the descriptor for each loop."""

    def __init__(self) -> None:
        """Begin with none."""
        self.waiting = 0
        """How many calls wait, or are about to; a queue that has a quicker way counts them."""
        self._pid = os.getpid()
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            weakref.WeakKeyDictionary()
        )
        self._at_fd: dict[asyncio.AbstractEventLoop, _Wait] = {}

    def lock(self) -> asyncio.Lock:
        """Return the lock of the running loop: the calls take turns."""
        loop = asyncio.get_running_loop()
        return self._locks.setdefault(loop, asyncio.Lock())

    async def ready(self, fd: int, *, to_write: bool = False) -> None:
        """Return when the descriptor is ready; the caller holds the lock of this loop."""
        loop = asyncio.get_running_loop()
        add: Callable[..., object] = loop.add_writer if to_write else loop.add_reader
        remove: _Remove = loop.remove_writer if to_write else loop.remove_reader
        future: asyncio.Future[None] = loop.create_future()
        add(fd, _wake, future, None)
        self._at_fd[loop] = future, remove, fd
        try:
            await future
        finally:
            if self._at_fd.pop(loop, None):
                remove(fd)

    def refuse(self, error: Callable[[], MisuseError]) -> None:
        """Wake all with an error; in a child of a fork they are the parent's."""
        if self._pid != os.getpid():
            return
        while self._at_fd:
            loop, (future, remove, fd) = self._at_fd.popitem()
            if not loop.is_closed():
                remove(fd)  # now: afterwards the number may be another file's
                loop.call_soon_threadsafe(_wake, future, error())


def _wake(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)

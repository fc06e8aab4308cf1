"""asend and areceive at a descriptor: in order, one of each event loop at it.

Contract  a call that waits is woken when the descriptor is ready, and then tries again.
Stands on asyncio, ipckit.errors.
Fork      those that wait are the parent's; a child begins with none.
"""

from __future__ import annotations

import asyncio
import os
import threading
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
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self.waiting = 0
        """How many calls wait, or are about to; a queue that has a quicker way counts them."""
        self._guard = threading.Lock()  # of what follows: loops run in several threads
        self._refusal: Callable[[], MisuseError] | None = None
        self._at_fd: dict[asyncio.AbstractEventLoop, _Wait] = {}
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            weakref.WeakKeyDictionary()
        )

    def check_process(self) -> None:
        """Forget what the parent of a fork had."""
        if self._pid != os.getpid():
            self._begin()

    def lock(self) -> asyncio.Lock:
        """Return the lock of the running loop: the calls take turns."""
        self.check_process()
        loop = asyncio.get_running_loop()
        return self._locks.setdefault(loop, asyncio.Lock())

    async def ready(self, fd: int, *, to_write: bool = False) -> None:
        """Return when the descriptor is ready; the caller holds the lock of this loop."""
        loop = asyncio.get_running_loop()
        add: Callable[..., object] = loop.add_writer if to_write else loop.add_reader
        remove: _Remove = loop.remove_writer if to_write else loop.remove_reader
        future: asyncio.Future[None] = loop.create_future()
        with self._guard:
            if self._refusal is not None:
                raise self._refusal()
            add(fd, _wake, future, None)
            self._at_fd[loop] = future, remove, fd
        try:
            await future
        finally:
            with self._guard:
                mine = self._at_fd.pop(loop, None)
                if mine:
                    remove(fd)

    def refuse(self, error: Callable[[], MisuseError]) -> None:
        """Wake all with an error, also those that come later; the descriptor may then be closed."""
        self.check_process()
        with self._guard:
            self._refusal = error
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

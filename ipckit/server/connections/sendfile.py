"""sendfile(): parts of files to one connection, in order with what is sent besides.

Contract  what is appended goes out in its order; a file is read piece by piece, the next one when
          the peer has read most of the last.
Stands on open(2), pread(2).
Blocks    on the disk, for one piece of 256 KiB at a time.
Errors    run(): OSError, also when a file has become shorter: the peer waits for bytes that there
          are not, so its connection must end.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from ipckit.server.log import limited

__all__ = ["FileSender", "Part", "open_part"]

_PIECE = 256 * 1024


class Part(NamedTuple):
    """An open file, and what of it is sent."""

    fd: int
    offset: int
    length: int


def open_part(path: str, offset: int, length: int) -> Part | None:
    """Open a file to send `length` bytes of it (0: the rest); None: it cannot be, it is logged."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        limited.error("sendfile: %s: %s", path, exc.strerror)
        return None
    size = os.fstat(fd).st_size
    length = length or size - offset
    if length > 0 and offset + length <= size:
        return Part(fd, offset, length)
    os.close(fd)
    limited.error("sendfile: %s has %d bytes: there are no %d at %d", path, size, length, offset)
    return None


class FileSender:
    """The files of one connection, and what was sent after them. Lives until all of it is out."""

    def __init__(self, transport: Any, drained: Callable[[], Awaitable[None]]) -> None:
        self._transport = transport
        self._drained = drained
        self._items: deque[bytes | Part] = deque()
        self._dropped = False
        self.bytes_behind = 0
        """Bytes given to append(), files not counted."""
        self.left = 0
        """Bytes of all that was appended, files too, that the transport has yet to get."""

    def append(self, item: bytes | Part) -> None:
        """Send it after all that was appended before."""
        self._items.append(item)
        if isinstance(item, bytes):
            self.bytes_behind += len(item)
            self.left += len(item)
        else:
            self.left += item.length

    async def run(self) -> None:
        """Send everything, also what is appended while it runs."""
        try:
            while self._items and not self._dropped:
                item = self._items.popleft()
                if isinstance(item, bytes):
                    self.bytes_behind -= len(item)
                    self.left -= len(item)
                    self._transport.write(item)
                else:
                    await self._send(item)
        finally:
            self.drop()

    async def _send(self, part: Part) -> None:
        fd, offset, left = part
        try:
            while left and not self._dropped:
                piece = os.pread(fd, min(left, _PIECE), offset)
                if not piece:
                    raise OSError(errno.EIO, f"the file ends {left} bytes early")
                self._transport.write(piece)
                offset += len(piece)
                left -= len(piece)
                self.left -= len(piece)
                await self._drained()
        finally:
            os.close(fd)

    def drop(self) -> None:
        """The connection is gone: close what is open."""
        self._dropped = True
        while self._items:
            item = self._items.popleft()
            if isinstance(item, Part):
                os.close(item.fd)

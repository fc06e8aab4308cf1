"""An inbox: the datagram socket by which one process hears from all others of its server.

Contract  `post()` puts one whole frame there or says that there is no room; it never waits.
          `take()` takes one whole frame or says that there is none. A writer killed at any place
          leaves a whole frame or nothing.
Stands on ipckit.server.wire, socket(7), unix(7), memfd_create(2).
Fork      both ends are made by the manager before the first fork and stay open in it, so a
          successor reads what its predecessor left. All writers share the sending end.
Why SEQPACKET  frames of several writers in one byte stream were cut to pieces after three, and one
          killed writer wedged the stream for ever; datagrams were not, in 62,000 frames.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
from collections.abc import Iterator

from ipckit.errors import InternalError, system_call
from ipckit.server.acquire import socket_pair
from ipckit.server.log import limited
from ipckit.server.wire import (
    ATTACHED,
    HEAD_SIZE,
    INLINE,
    LARGEST,
    WITH_FD,
    Head,
    decode_head,
    encode_head,
)

__all__ = ["Inbox"]

_NOW = socket.MSG_DONTWAIT
_TAKE = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
_NO_ROOM = frozenset({errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})
"""It passes: of the kernel's memory, and of descriptors under way, there will be more."""

_ROOM_FOR_TWO = socket.CMSG_SPACE(8)


class Inbox:
    """One inbox. Process safe for writing; one process reads at a time."""

    def __init__(self) -> None:
        self.reading, self.writing = socket_pair(socket.SOCK_SEQPACKET, "an inbox")
        # Python's own flag stays "blocking": each call says MSG_DONTWAIT itself.
        self._send = self.writing.send
        self._receive = self.reading.recvmsg

    def close(self) -> None:
        """Close both ends in this process."""
        self.reading.close()
        self.writing.close()

    def post(self, head: Head, body: bytes | memoryview = b"") -> bool:
        """Put a frame there; False: no room now, nothing was sent. Any size of body."""
        return self._post(head, body, ())

    def post_with(self, head: Head, body: bytes, fd: int) -> bool:
        """As post(), with a copy of a descriptor: who takes it has its number in `head.number`."""
        return self._post(head._replace(flags=head.flags | WITH_FD), body, (fd,))

    def _post(self, head: Head, body: bytes | memoryview, fds: tuple[int, ...]) -> bool:
        if len(body) <= INLINE:
            return self._post_frame(encode_head(head) + body, fds)
        attached = head._replace(flags=head.flags | ATTACHED)
        with _memory_file(body) as fd:
            return self._post_frame(encode_head(attached), (*fds, fd))

    def _post_frame(self, frame: bytes, fds: tuple[int, ...]) -> bool:
        try:
            if not fds:
                self._send(frame, _NOW)
            else:
                rights = array.array("i", fds)
                ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
                self.writing.sendmsg([frame], ancillary, _NOW)
        except BlockingIOError:
            return False
        except OSError as exc:
            if exc.errno not in _NO_ROOM:
                raise
            limited.warning("sendmsg: a frame for another process waits: %s", exc)
            return False
        return True

    def take(self) -> tuple[Head, bytes] | None:
        """Take the oldest frame, None when there is none."""
        try:
            frame, ancillary, flags, _ = self._receive(LARGEST, _ROOM_FOR_TWO, _TAKE)
        except BlockingIOError:
            return None
        if flags & socket.MSG_TRUNC or len(frame) < HEAD_SIZE:
            raise InternalError(f"an inbox frame of {len(frame)} bytes, flags {flags:#x}")
        head = decode_head(frame)
        if not ancillary:
            return head, frame[HEAD_SIZE:]
        fds = array.array("i", ancillary[0][2])
        if head.flags & WITH_FD:
            head = head._replace(number=fds.pop(0))
        if not fds:
            return head, frame[HEAD_SIZE:]
        try:
            return head, _read_whole(fds[0])
        finally:
            os.close(fds[0])


@contextlib.contextmanager
def _memory_file(body: bytes | memoryview) -> Iterator[int]:
    """Give the descriptor of a nameless file that holds `body`. SystemCallError: there is none."""
    what = f"{len(body)} bytes for another process"
    with system_call("memfd_create", what):
        fd = os.memfd_create("ipckit-frame", os.MFD_CLOEXEC)
    try:
        view = memoryview(body)
        with system_call("write", what):
            while view:
                view = view[os.write(fd, view) :]
        yield fd
    finally:
        os.close(fd)


def _read_whole(fd: int) -> bytes:
    size = os.lseek(fd, 0, os.SEEK_END)  # which wants no memory, as fstat(2) may
    body = os.pread(fd, size, 0)
    if len(body) == size:
        return body
    parts = [body]  # the kernel gives at most 2 GiB a call
    at = len(body)
    while at < size:
        part = os.pread(fd, size - at, at)
        if not part:
            raise InternalError(f"a frame's memory file ends at {at} of {size} bytes")
        parts.append(part)
        at += len(part)
    return b"".join(parts)

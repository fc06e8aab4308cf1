"""An inbox: the datagram socket by which one process hears from all others of its server.

Contract  `post()` puts one whole frame there or says that there is no room; it never waits.
          `take()` takes one whole frame or says that there is none. A writer killed at any place
          leaves a whole frame or nothing. A frame for whose descriptors or body this process has no
          room stays the oldest one: take() says that there is none, and `blocked` that it is so.
          Look again after RETRY_SECONDS, not when the socket is readable.
Stands on ipckit.server.messaging.wire, socket(7), unix(7), memfd_create(2).
Fork      both ends are made by the manager before the first fork and stay open in it, so a
          successor reads what its predecessor left. All writers share the sending end.
Why SEQPACKET  frames of several writers in one byte stream were cut to pieces after three, and one
          killed writer wedged the stream for ever; datagrams were not, in 62,000 frames.
Why it peeks  recvmsg(2) without a free descriptor takes the frame off the queue and drops its
          descriptors (MSG_CTRUNC). The head says whether there are any, and a frame with some is
          taken only if a peek has found room for them, and memory for the body. One recv() more
          for each frame, which is cheaper than recvmsg() for all.
Readers   one process at a time. Of one that is `shared`, for a moment two, when a task worker is
          replaced: each frame comes to one of them, whole.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import resource
import socket
from collections.abc import Iterable, Iterator

from ipckit.errors import InternalError, from_errno, system_call
from ipckit.server.log import limited
from ipckit.server.messaging.wire import (
    ATTACHED,
    HEAD_SIZE,
    INLINE,
    LARGEST,
    WITH_FD,
    Head,
    decode_head,
    encode_head,
)
from ipckit.server.system.acquire import socket_pair

__all__ = ["RETRY_SECONDS", "Inbox"]

RETRY_SECONDS = 0.1
"""Until a blocked inbox is looked at again."""

_NOW = socket.MSG_DONTWAIT
_PEEK = socket.MSG_DONTWAIT | socket.MSG_PEEK
_TAKE = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
_NO_ROOM = frozenset({errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})
"""It passes: of the kernel's memory, and of descriptors under way, there will be more."""

_ROOM_FOR_TWO = socket.CMSG_SPACE(8)
_CARRIES = ATTACHED | WITH_FD
_FLAGS = 1
"""The byte of a head that has them."""


class Inbox:
    """One inbox. Process safe for writing; see Readers."""

    def __init__(self, *, shared: bool = False) -> None:
        """`shared`: two processes may read it at once."""
        self.reading, self.writing = socket_pair(socket.SOCK_SEQPACKET, "an inbox")
        # Python's own flag stays "blocking": each call says MSG_DONTWAIT itself.
        self._send = self.writing.send
        self._shared = shared
        self._read = self.reading.recv
        self._receive = self.reading.recvmsg
        self.blocked = False
        """The last take() of this process left a frame there, for want of a descriptor."""

    def close(self) -> None:
        """Close both ends in this process."""
        self.reading.close()
        self.writing.close()

    def post(self, head: Head, body: bytes | memoryview = b"") -> bool:
        """Put a frame there; False: no room now, nothing was sent. Any size of body."""
        return self._post(head, body, ())

    def post_with(self, head: Head, body: bytes, fd: int) -> bool:
        """As post(), with a copy of a descriptor, whose number the taken frame has in `number`."""
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
            call = "sendmsg" if fds else "send"
            limited.warning("%s: a frame for another process waits: %s", call, exc)
            return False
        return True

    def take(self, *, connections: bool = True) -> tuple[Head, bytes] | None:
        """Take the oldest frame, None when there is none, or it is blocked.

        `connections` False: of a frame of post_with() only the head, without its descriptor.
        """
        try:
            carries = self._read(HEAD_SIZE, _PEEK)[_FLAGS] & _CARRIES
            if not carries and not self._shared:
                frame = self._read(LARGEST, _NOW)
                return decode_head(frame), frame[HEAD_SIZE:]
            if carries and self._is_blocked(connections):
                return None
            # The other reader may have taken the one that we saw.
            frame, ancillary, flags, _ = self._receive(LARGEST, _ROOM_FOR_TWO, _TAKE)
        except BlockingIOError:
            self.blocked = False
            return None
        except OSError as exc:
            code = exc.errno or errno.EIO
            raise from_errno("recvmsg", code, "what comes next stays in the inbox") from None
        head = decode_head(frame)
        if not head.flags & _CARRIES:
            return head, frame[HEAD_SIZE:]
        fds = array.array("i", ancillary[0][2] if ancillary else b"")
        if head.flags & WITH_FD and not connections:
            _close(fds)
            return head, b""
        if flags & socket.MSG_CTRUNC:
            _close(fds)
            limited.error("recvmsg: a frame is lost: another thread has taken the last descriptor")
            return self.take(connections=connections)
        if head.flags & WITH_FD:
            head = head._replace(number=fds.pop(0))
        if not fds:
            return head, frame[HEAD_SIZE:]
        try:
            return head, _read_whole(fds[0])
        finally:
            os.close(fds[0])

    def _is_blocked(self, connections: bool) -> bool:
        """Whether the oldest frame finds no room here. A peek installs its descriptors."""
        frame, ancillary, flags, _ = self._receive(HEAD_SIZE, _ROOM_FOR_TWO, _PEEK | _TAKE)
        fds = array.array("i", ancillary[0][2] if ancillary else b"")
        wanted = connections or not frame[_FLAGS] & WITH_FD
        descriptors = not flags & socket.MSG_CTRUNC
        try:
            attached = wanted and descriptors and frame[_FLAGS] & ATTACHED
            memory = not attached or _fits(fds[-1])
        finally:
            _close(fds)
        self.blocked = wanted and not (descriptors and memory)
        if self.blocked and memory:
            limited.warning(
                "recvmsg: a frame for this process waits, as no descriptor is free: raise the "
                "limit of descriptors (ulimit -n, here %d; fs.file-max), or close some",
                resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            )
        elif self.blocked:
            limited.warning(
                "read: a frame for this process waits, as there is no memory for it: %s",
                os.strerror(errno.ENOMEM),
            )
        return self.blocked


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


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


def _fits(fd: int) -> bool:
    """Whether there is memory for the body in this file, and for what it is unpickled to."""
    try:
        bytes(2 * os.lseek(fd, 0, os.SEEK_END))  # calloc(3): no page of it is touched
    except MemoryError:
        return False
    return True


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

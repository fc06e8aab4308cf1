"""The file of a unix socket: whether a process still has that socket, and the file's removal.

A socket file outlives its process, and its name can be given to another socket at any time: a
deployment removes it and starts the next server, two servers start at once.

Contract  a file is removed only if it is the one that was meant. `SocketFile` is ours: it goes by
          its inode, which no other file can have while our socket is open. `remove_abandoned()`
          is for what others left: it goes when no process has the socket, listening or not.
Kernel    connect(2): ECONNREFUSED says that nobody listens. sock_diag(7), UNIX_DIAG_VFS: the
          inode of each bound socket of this network namespace. Where that is not available,
          /proc/net/unix: their names. flock(2) of the directory.
Blocks    for another ipckit process in the same directory, LOCK_SECONDS at most.
Invariants
  U1  A caller that looks at a file in order to remove it, or to bind its name, holds
      directory_lock(): no other ipckit process changes the name in between.
  U2  In doubt (no right to connect, a full backlog, another type) a file counts as a live socket.
Limit     a server of another network namespace that has bound a name in a shared directory and
          does not listen yet cannot be seen: its file counts as abandoned for that moment.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["LONGEST", "SocketFile", "directory_lock", "is_abandoned", "remove_abandoned"]

LONGEST = 107
"""Bytes of a path that the kernel takes: unix(7), sun_path without its last NUL."""

LOCK_SECONDS = 2.0
"""After so long U1 is given up: whoever holds the lock of a shared directory may be hostile."""

_NETLINK_SOCK_DIAG = 4
_BY_FAMILY, _DONE, _ERROR = 20, 3, 2
_REQUEST_DUMP = 0x301
_SHOW_NAME_AND_FILE = 3
_NAME, _FILE = 0, 1


@dataclass(frozen=True, slots=True)
class SocketFile:
    """The file of a socket that this process has bound, and has open."""

    path: str  # absolute: the working directory may change
    device: int
    inode: int

    @classmethod
    def of(cls, path: str) -> SocketFile:
        """Return the file that was bound just now. Call it with the lock of its directory."""
        path = os.path.abspath(path)
        found = os.lstat(path)
        return cls(path, found.st_dev, found.st_ino)

    def remove(self) -> bool:
        """Remove it, while our socket is open; False: the name is gone, or another one's."""
        with contextlib.suppress(FileNotFoundError), directory_lock(self.path):
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == (self.device, self.inode):
                os.unlink(self.path)
                return True
        return False


@contextlib.contextmanager
def directory_lock(path: str) -> Iterator[None]:
    """U1. Without the right to read the directory: nothing is held."""
    try:
        fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        end = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as exc:
                if exc.errno != errno.EWOULDBLOCK or time.monotonic() > end:
                    break  # a file system without locks, or somebody who keeps it
            time.sleep(0.002)
        yield
    finally:
        os.close(fd)


def is_abandoned(path: str) -> bool:
    """Whether this is the file of a socket that no process has any more. FileNotFoundError."""
    found = os.lstat(path)
    if not stat.S_ISSOCK(found.st_mode):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return not _is_bound(path, found.st_ino)
        except FileNotFoundError:
            raise
        except OSError:
            pass  # U2
    return False


def remove_abandoned(path: str) -> bool:
    """Remove the file if it is_abandoned(). FileNotFoundError, PermissionError."""
    with directory_lock(path):
        if not is_abandoned(path):
            return False
        os.unlink(path)
        return True


def _is_bound(path: str, inode: int) -> bool:
    """Whether a process has bound this file, listening or not."""
    name = os.fsencode(os.path.basename(path))
    try:
        bound = list(_bound_sockets())
    except OSError:
        return _is_listed(path)
    return any(i == inode & 0xFFFFFFFF and os.path.basename(n) == name for n, i in bound)


def _bound_sockets() -> Iterator[tuple[bytes, int]]:
    """Give the name, as it was bound, and the low half of the inode of each socket with a file."""
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
    ) as asked:
        body = struct.pack(
            "=BBHIIIII", socket.AF_UNIX, 0, 0, 2**32 - 1, 0, _SHOW_NAME_AND_FILE, 0, 0
        )
        head = struct.pack("=IHHII", 16 + len(body), _BY_FAMILY, _REQUEST_DUMP, 1, 0)
        asked.settimeout(LOCK_SECONDS)
        asked.sendto(head + body, (0, 0))
        while True:
            answer = asked.recv(1 << 17)
            at = 0
            while at + 16 <= len(answer):
                size, kind = struct.unpack_from("=IH", answer, at)
                if kind == _DONE:
                    return
                if kind == _ERROR or size < 16:
                    raise OSError(errno.EOPNOTSUPP, "this kernel has no sock_diag for unix sockets")
                parts = _attributes(answer[at + 32 : at + size])
                if len(parts.get(_FILE, b"")) == 8:
                    yield (
                        parts.get(_NAME, b"").rstrip(b"\0"),
                        struct.unpack("=I", parts[_FILE][:4])[0],
                    )
                at += (size + 3) & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4:
            break
        found[kind] = data[at + 4 : at + size]
        at += (size + 3) & ~3
    return found


def _is_listed(path: str) -> bool:
    names = {os.fsencode(path), os.fsencode(os.path.abspath(path))}
    try:
        with open("/proc/net/unix", "rb") as file:
            return any(
                line.rstrip(b"\n").split(None, 7)[7:] == [name] for line in file for name in names
            )
    except OSError:
        return False

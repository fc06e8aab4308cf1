"""How a start acquires what it needs of the kernel, and how that is undone.

Contract  Undo.close(), or an exception in its block, undoes all that was added, in reverse order,
          whatever one of the steps raises: it is done once more, then that is logged, and the
          others are done all the same. So a step may be done again after it raised.
          The other functions give what they are asked for, or raise the IPCError that names the
          call, and leave nothing.
Stands on ipckit.errors, mmap(2), socketpair(2), unix(7).
Blocks    never.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import socket
from collections.abc import Callable
from typing import Any

from ipckit.errors import IPCError, system_call
from ipckit.server.log import log

__all__ = ["Undo", "hold_name", "mapped", "socket_pair", "system_call"]


class Undo(contextlib.ExitStack):
    """Steps back, the last one first."""

    def add(self, what: str, undo: Callable[..., object], *args: Any) -> None:
        """Undo `what` by this call."""
        self.callback(_do, what, undo, *args)


def _do(what: str, undo: Callable[..., object], *args: Any) -> None:
    """Twice, if it fails: what stays is for the next start, or for `ipckit rm --leaked`."""
    for last in (False, True):
        try:
            undo(*args)
        except (IPCError, OSError) as exc:
            if last:
                log.warning("%s: it stays: %s", what, exc)
        else:
            return


def mapped(fd: int, size: int) -> mmap.mmap:
    """Return the shared memory of a file, or with fd -1 of none."""
    with system_call("mmap", f"{size} bytes of shared memory; see ulimit -v and the free memory"):
        return mmap.mmap(fd, size)


def socket_pair(kind: int, what: str) -> tuple[socket.socket, socket.socket]:
    """Return two connected unix sockets."""
    with system_call("socketpair", f"{what}; it wants two free descriptors (ulimit -n)"):
        return socket.socketpair(socket.AF_UNIX, kind)


def hold_name(name: str, of: str) -> socket.socket | None:
    """Return what only one process can have, with what it forked; None: another one has it.

    A name in the abstract namespace goes with the last process that holds it, so no crash leaves
    a lock behind. `of` is a path whose device and inode say which namespace or file system the name
    is of: abstract names are of the network namespace, which containers may share. Raises
    SystemCallError.
    """
    try:
        with system_call("stat", f"{of}, to hold the name {name}"):
            place = os.stat(of)
    except OSError as exc:
        if exc.errno != errno.ENOENT:
            raise
    else:
        name = f"{name}-{place.st_dev}-{place.st_ino}"
    with system_call("socket", f"to hold the name {name}; raise ulimit -n"):
        guard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        with system_call("bind", f"to hold the name {name}"):
            guard.bind(f"\0{name}")
    except OSError as exc:
        guard.close()
        if exc.errno != errno.EADDRINUSE:
            raise
        return None
    return guard

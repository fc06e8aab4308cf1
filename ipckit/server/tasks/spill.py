"""Files beside the task ledger: bodies and results too large for it, and notes of failed attempts.

Contract  a file is whole before its name exists, and stays there until it is removed. No message
          and no record carries a path: the name follows from the task's id, in a directory that
          only our user can enter; a file that is not ours, not plain or of another size is
          refused.
Stands on ipckit.errors, open(2) O_TMPFILE, linkat(2).
Crash     a writer killed before the name exists leaves nothing; afterwards the file stays until
          the task is over or the server ends (the manager removes the directory).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Set as AbstractSet

from ipckit.errors import ProtocolError, from_errno
from ipckit.server.config.identity import Identity
from ipckit.server.rundir.runtime_dir import LETTERS, SPILL_PREFIX, private_directory
from ipckit.server.system.acquire import Undo, system_call

__all__ = [
    "SpillDirectory",
    "body_name",
    "note_name",
    "result_name",
]

_NOT_OURS = frozenset({errno.ELOOP, errno.ENXIO, errno.EISDIR})
"""What open(2) says of a link, or of what is no plain file."""


def body_name(task_id: int) -> str:
    """Return the name of the file with a task's data."""
    return f"task-{task_id}"


def result_name(task_id: int, attempt: int) -> str:
    """Return the name of the file with the result of an attempt."""
    return f"result-{task_id}-{attempt}"


def note_name(task_id: int, attempt: int) -> str:
    """Return the name of the file that says how an attempt failed."""
    return f"note-{task_id}-{attempt}"


class SpillDirectory:
    """The files of one server. Made by the manager, inherited by all; process safe."""

    def __init__(
        self, parent: str, name: str | None = None, identity: Identity | None = None
    ) -> None:
        """Make a directory of its own below `parent`, or take up the one of that name.

        identity: the user of the processes that use it; None: this one.
        """
        own = name or f"{SPILL_PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
        also = () if identity is None else (identity.uid,)
        path = os.path.join(private_directory(parent), own)
        detail = f"the directory {path} of spill files"
        with Undo() as undo:
            if not os.path.lexists(path):
                undo.add(detail, _remove_directory, path)
            self.path = private_directory(path, *also)
            with system_call("open", detail):
                self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            undo.callback(os.close, self._fd)
            with system_call("fstat", detail):
                self._stat = os.fstat(self._fd)
                self._owner = self._stat.st_uid
            if identity is not None:
                remedy = (
                    "it takes CAP_CHOWN (docker run --cap-add CHOWN), and a user that this user "
                    "namespace knows"
                )
                with system_call("fchown", f"{detail}, for user {identity.uid}", remedy):
                    os.fchown(self._fd, identity.uid, identity.gid)
                    self._owner = identity.uid
            undo.pop_all()
        # "." where it lies below directories that are closed to its users
        self._place = self.path if identity is None else "."

    def write(self, name: str, body: bytes) -> None:
        """Keep `body`; done already is done.

        Raises SystemCallError (the disk is full, the directory cannot be written): nothing is
        left then.
        """
        try:
            flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
            fd = os.open(self._place, flags, 0o600, dir_fd=self._fd)
            try:
                if self._owner != os.geteuid():
                    os.fchown(fd, self._owner, -1)
                view = memoryview(body)
                while view:
                    view = view[os.write(fd, view) :]
                with contextlib.suppress(FileExistsError):
                    os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=self._fd, follow_symlinks=True)
            finally:
                os.close(fd)
        except OSError as exc:
            raise from_errno(
                "write",
                exc.errno or errno.EIO,
                f"{len(body)} bytes into {self.path}: make room there, or choose another "
                f"directory with task_tmpdir",
            ) from None

    def read(self, name: str, size: int | None = None) -> bytes | None:
        """Return the body; None when there is no such file.

        Raises ProtocolError: it is not a plain file of ours, or not of this size. SystemCallError:
        it cannot be read now.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(name, flags, dir_fd=self._fd)
        except FileNotFoundError:
            return None
        except OSError as exc:
            if exc.errno in _NOT_OURS:
                raise ProtocolError(f"spill file {name}: {exc.strerror}; it is not ours") from None
            raise from_errno("open", exc.errno or errno.EIO, f"spill file {name}") from None
        with system_call("read", f"spill file {name}"), open(fd, "rb", buffering=0) as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != self._owner:
                raise ProtocolError(f"spill file {name}: not a plain file of ours")
            if size is not None and found.st_size != size:
                raise ProtocolError(
                    f"spill file {name}: {found.st_size} bytes, {size} were written"
                )
            return file.readall()

    def remove(self, name: str) -> None:
        """Forget the body; harmless when there is none."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def keep_only(self, task_ids: AbstractSet[int]) -> None:
        """Remove all files but those of these tasks. While nobody else is at work."""
        with system_call("opendir", f"{self.path}, for its spill files"):
            names = os.listdir(self._fd)
        for name in names:
            parts = name.split("-")
            known = len(parts) > 1 and parts[1].isdecimal() and int(parts[1]) in task_ids
            if not known and not name.startswith(LETTERS):
                self.remove(name)

    def close(self) -> None:
        """Leave the files there."""
        os.close(self._fd)

    def destroy(self) -> None:
        """Remove the directory with all that is in it. By the manager, at the end."""
        mine = self._stat
        if self._fd >= 0:
            os.close(self._fd)  # first: to list it takes a descriptor, and there may be no other
            self._fd = -1
        with contextlib.suppress(FileNotFoundError):
            if not os.path.samestat(os.lstat(self.path), mine):
                return
            for name in os.listdir(self.path):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.path, name))
        _remove_directory(self.path)


def _remove_directory(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(path)

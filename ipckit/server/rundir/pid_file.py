"""The pid file of a server.

Contract  there whole or not at all; at the end it is removed if it is still ours.
Crash     of the manager: it stays, and the next server writes over it.
"""

from __future__ import annotations

import contextlib
import errno
import os

from ipckit.errors import from_errno

__all__ = ["PidFile"]


class PidFile:
    """A file with our pid; without a path nothing."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        """Write it. Raises SystemCallError, NotFound, AccessDenied: it cannot be written."""
        self.path = None if path is None else os.path.abspath(os.fspath(path))
        if self.path is None:
            return
        new = f"{self.path}.{os.getpid()}-{os.urandom(4).hex()}"
        try:
            with open(new, "xb") as file:  # "x" follows no symbolic link
                file.write(b"%d\n" % os.getpid())
                file.flush()
                self._written = _identity(os.fstat(file.fileno()))
            os.replace(new, self.path)
        except OSError as exc:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise from_errno("open", exc.errno or errno.EIO, f"pid_file {self.path}") from None

    def remove(self) -> None:
        """Remove it, unless it is another file by now: a newer server's, whatever its pid."""
        if self.path is None:
            return
        with contextlib.suppress(OSError):
            if _identity(os.lstat(self.path)) == self._written:
                os.unlink(self.path)


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    """Return what no other file of this name has: an inode's number may be given again."""
    return found.st_dev, found.st_ino, found.st_mtime_ns

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
        new = f"{self.path}.{os.getpid()}"
        try:
            with open(new, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
            os.replace(new, self.path)
        except OSError as exc:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise from_errno("open", exc.errno or errno.EIO, f"pid_file {self.path}") from None

    def remove(self) -> None:
        """Remove it, unless another server has written its own pid there."""
        if self.path is None:
            return
        with contextlib.suppress(OSError), open(self.path, encoding="ascii") as file:
            if file.read().strip() == str(os.getpid()):
                os.unlink(self.path)

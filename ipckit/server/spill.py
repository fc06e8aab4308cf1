"""Spill files: bodies of tasks that are too large for a queue's message.

Contract  a body is in its file whole before its name exists, and stays there until `remove()`.
          A message never carries a path: the name follows from the task id, in a directory that
          only our user can enter; a file that is not ours, not plain or of another size is
          refused.
Stands on ipckit.errors, open(2) O_TMPFILE, linkat(2).
Crash     a writer killed before the name exists leaves nothing; afterwards the file stays until
          the task is done or the server ends (the manager removes the directory).
"""

from __future__ import annotations

import contextlib
import os
import stat

from ipckit.errors import AccessDenied, ProtocolError

__all__ = ["SpillDirectory", "private_directory", "runtime_directory"]


def runtime_directory(setting: str | os.PathLike[str] | None) -> str:
    """Return the directory for run-time files: the setting, or the one of our user."""
    if setting is not None:
        return os.path.abspath(os.fspath(setting))
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and os.path.isabs(session) and os.path.isdir(session):
        return os.path.join(session, "ipckit")
    return "/run/ipckit" if os.geteuid() == 0 else f"/var/tmp/ipckit-{os.geteuid()}"  # noqa: S108  (private_directory checks)


def private_directory(path: str) -> str:
    """Make `path` if it is missing (0700) and return it.

    Raises AccessDenied when it is another user's, no directory, or open to others: nothing in
    it could be trusted.
    """
    try:
        os.makedirs(path, mode=0o700)
    except FileExistsError:
        pass
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise AccessDenied(
            13,
            f"{path} must be a directory of user {os.geteuid()} with mode 0700 (it is of user "
            f"{found.st_uid}, mode {stat.S_IMODE(found.st_mode):#o}); mend it, or choose another "
            f"with runtime_dir or task_tmpdir",
        )
    return path


class SpillDirectory:
    """The spill files of one server. Made by the manager, inherited by all; process safe."""

    def __init__(self, parent: str) -> None:
        self.path = os.path.join(
            private_directory(parent), f"spill-{os.getpid()}-{os.urandom(4).hex()}"
        )
        os.mkdir(self.path, 0o700)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def write(self, task_id: int, body: bytes) -> None:
        """Keep `body`; done already (an earlier attempt's) is done."""
        name = _name(task_id)
        fd = os.open(self.path, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(body)
            while view:
                view = view[os.write(fd, view) :]
            with contextlib.suppress(FileExistsError):
                os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=self._fd, follow_symlinks=True)
        finally:
            os.close(fd)

    def read(self, task_id: int, size: int) -> bytes | None:
        """Return the body; None when the task is over and its file removed."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(_name(task_id), flags, dir_fd=self._fd)
        except FileNotFoundError:
            return None
        with open(fd, "rb", buffering=0) as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise ProtocolError(f"spill file of task {task_id}: not a plain file of ours")
            if found.st_size != size:
                raise ProtocolError(
                    f"spill file of task {task_id}: {found.st_size} bytes, {size} were written"
                )
            return file.readall()

    def remove(self, task_id: int) -> None:
        """Forget the body; harmless when there is none."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_name(task_id), dir_fd=self._fd)

    def destroy(self) -> None:
        """Remove the directory with all that is in it. By the manager, at the end."""
        for name in os.listdir(self._fd):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._fd)
        os.close(self._fd)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(self.path)


def _name(task_id: int) -> str:
    return f"task-{task_id}"

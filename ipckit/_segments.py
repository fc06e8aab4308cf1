"""Shared segments: made whole before another process can see them, opened with distrust.

Contract  A segment is an anonymous file (memfd) that a fork inherits, or one file in /dev/shm.
          A named one is written completely before it gets its name, so there is never a half-made
          one, and a creator that is killed leaves nothing.
          All its memory is allocated when it is made: no SIGBUS later.
Stands on ipckit._cgroup, ipckit.errors.
Fork      descriptors are inherited; the child's are close-on-exec as well.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ipckit._cgroup import refuse_over_group
from ipckit.errors import (
    AccessDenied,
    AlreadyExists,
    IPCError,
    NotFound,
    SegmentCorrupt,
    from_errno,
    system_call,
)

__all__ = [
    "FOLDER",
    "LEDGERS",
    "QUEUES",
    "TABLES",
    "NamedSegments",
    "allocate",
    "check_mode",
    "file_of",
    "mapped_segments",
    "open_or_make",
    "status_of",
    "unnamed_file",
]

FOLDER = "/dev/shm"  # noqa: S108  (the kernel's place for shared memory, not a temporary file)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_Made = TypeVar("_Made")


def check_mode(mode: object) -> None:
    """Refuse what cannot be permission bits: ValueError."""
    if not isinstance(mode, int) or not 0 <= mode <= 0o777:
        shown = f"{mode:#o}" if isinstance(mode, int) else repr(mode)
        raise ValueError(f"mode={shown}: must be permission bits, 0..0o777")


def unnamed_file() -> int:
    """Return the descriptor of an empty file of shared memory that has no name yet, mode 0600."""
    remedy = f"mount it (mount -t tmpfs -o mode=1777 tmpfs {FOLDER}), or give no name"
    with system_call("open", f"an unnamed file in {FOLDER}", remedy):
        return os.open(FOLDER, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)


def allocate(fd: int, total: int, what: str) -> mmap.mmap:
    """Give a file all its memory, and return it; `what` needs it, in the texts of errors."""
    refuse_over_group(
        total,
        "posix_fallocate",
        f"{what} needs {total} bytes of shared memory; make it smaller",
    )
    with system_call(
        "posix_fallocate",
        f"{what} needs {total} bytes of shared memory",
        f"make it smaller, or free some (see df {FOLDER}), or make that larger (docker run "
        f"--shm-size)",
    ):
        os.posix_fallocate(fd, 0, total)
    with system_call("mmap", f"{what}, of {total} bytes"):
        return mmap.mmap(fd, total)


def file_of(fd: int) -> tuple[int, int]:
    """Return what no other file has while this one is open or mapped: device and inode."""
    found = status_of(fd)
    return found.st_dev, found.st_ino


def status_of(fd: int) -> os.stat_result:
    """Return what fstat(2) says of a segment's descriptor. SystemCallError."""
    with system_call("fstat", "a shared segment"):
        return os.fstat(fd)


@dataclass(frozen=True, slots=True)
class NamedSegments:
    """The segments of one kind: their texts in errors, and their names in /dev/shm."""

    kind: str
    prefix: str
    """Of the files' names; a name follows it."""

    def path_of(self, name: object) -> str:
        """Return the path of a named segment. TypeError, ValueError."""
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        if not _NAME.fullmatch(name):
            raise ValueError(f"name={name!r}: must be 1..200 of A-Z a-z 0-9 . _ -")
        return f"{FOLDER}/{self.prefix}{name}"

    def make_anonymous(self, what: str, fill: Callable[[int], None]) -> int:
        """Return the descriptor of a new segment without a name; `fill` writes it."""
        with system_call("memfd_create", what):
            fd = os.memfd_create(
                "ipckit." + self.kind.replace(" ", "-"), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
            )
        try:
            fill(fd)
            # No process that inherits it can truncate it under the others.
            with system_call("fcntl", what):
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def make(
        self, name: str, mode: int, fill: Callable[[int], None], take: Callable[[int], _Made]
    ) -> _Made:
        """Make a segment, there under its name, and return what `take` makes of the descriptor.

        The descriptor is `take`'s, also if that raises; then the name is removed. AlreadyExists.
        """
        path = self.path_of(name)
        check_mode(mode)
        fd = unnamed_file()
        try:
            fill(fd)
            with system_call("fchmod", f"the {self.kind} {path}"):
                os.fchmod(fd, mode)
            file = file_of(fd)
            self.give_name(fd, name)
        except BaseException:
            os.close(fd)
            raise
        try:
            return take(fd)
        except BaseException:
            with contextlib.suppress(IPCError):
                self.remove(name, file)
            raise

    def give_name(self, fd: int, name: str) -> None:
        """Link an unnamed file into its folder: there, whole, or not at all. AlreadyExists."""
        path = self.path_of(name)
        what = f"naming the {self.kind} {path}"
        # A directory descriptor makes it linkat(2), which follows the link that /proc gives.
        with system_call("open", f"/proc/self/fd, {what}", "mount it: mount -t proc proc /proc"):
            folder = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with system_call("linkat", what):
                os.link(str(fd), path, src_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(folder)

    def open(self, name: str) -> int:
        """Return the descriptor of a named segment.

        NotFound, AccessDenied (another user's, or others may write what its owner did not allow),
        SegmentCorrupt (no regular file).
        """
        path = self.path_of(name)
        kind = self.kind
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise NotFound(
                errno.ENOENT, f"open: there is no {kind} {name!r} ({path}); create() makes one"
            ) from None
        except OSError as exc:
            if exc.errno == errno.ELOOP:
                raise SegmentCorrupt(f"{path} is a symbolic link, no {kind}") from None
            raise from_errno(
                "open", exc.errno or errno.EIO, f"the {kind} {name!r} ({path})"
            ) from None
        try:
            self._check_file(status_of(fd), path)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def remove(self, name: str, file: tuple[int, int] | None = None) -> None:
        """Take the segment's name away. NotFound, AccessDenied.

        `file`: only from this one, by file_of(); another one of that name is NotFound, and stays.
        """
        path = self.path_of(name)
        try:
            found = os.lstat(path)
            if file is not None and (found.st_dev, found.st_ino) != file:
                raise NotFound(
                    errno.ENOENT,
                    f"unlink: {path} is another one by now, which stays: this one was removed"
                    f" before",
                )
            os.unlink(path)
        except NotFound:
            raise
        except OSError as exc:
            raise from_errno(
                "unlink", exc.errno or errno.EIO, f"the {self.kind} {name!r}"
            ) from None

    def names(self) -> list[str]:
        """Return the names of all segments of this kind, whoever they belong to."""
        try:
            files = os.listdir(FOLDER)
        except FileNotFoundError:
            return []  # a machine without shared memory that has names
        found = (file.removeprefix(self.prefix) for file in files if file.startswith(self.prefix))
        return sorted(name for name in found if _NAME.fullmatch(name))

    def _check_file(self, found: os.stat_result, path: str) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise SegmentCorrupt(f"{path} is no regular file, so no {self.kind}")
        if found.st_uid != os.geteuid():
            raise AccessDenied(
                errno.EACCES,
                f"open: {path} belongs to user {found.st_uid}, not to {os.geteuid()}; it is not"
                f" used",
            )
        if found.st_mode & 0o022:
            raise AccessDenied(
                errno.EACCES,
                f"open: {path} has mode {stat.S_IMODE(found.st_mode):#o}: others may write to it,"
                f" so it is not trusted; remove it, or take the rights away",
            )


TABLES = NamedSegments("table", "ipckit.")
LEDGERS = NamedSegments("task ledger", "ipckit.ledger.")
QUEUES = NamedSegments("shared queue", "ipckit-queue.")
"""Another prefix than "ipckit.queue.", which a table may have."""


def open_or_make(open_it: Callable[[], _Made], make_it: Callable[[], _Made]) -> _Made:
    """Open what has a name, or make it; any number of processes may do so at the same time."""
    while True:  # each turn lost means that others made and removed it in between
        try:
            return open_it()
        except NotFound:
            pass
        try:
            return make_it()
        except AlreadyExists:
            pass


def mapped_segments(pid: int) -> list[str]:
    """Return the paths of the named segments that a process has. OSError: it cannot be looked at.

    By device and inode: where it was made under no name, the kernel still tells of none.
    """
    with open(f"/proc/{pid}/maps", "rb") as file:
        used = {tuple(line.split(None, 5)[3:5]) for line in file if FOLDER.encode() in line}
    found = []
    for kind in (TABLES, QUEUES):  # the names of ledgers begin as those of tables
        for name in kind.names():
            path = f"{FOLDER}/{kind.prefix}{name}"
            with contextlib.suppress(FileNotFoundError):
                entry = os.lstat(path)
                device = f"{os.major(entry.st_dev):02x}:{os.minor(entry.st_dev):02x}"
                if (device.encode(), str(entry.st_ino).encode()) in used:
                    found.append(path)
    return found

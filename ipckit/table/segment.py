"""Shared segments of tables: made whole before anybody can see them, opened with distrust.

Contract  A segment is an anonymous file (memfd) that a fork inherits, or one file in /dev/shm.
          A named one is written completely before it gets its name, so there is never a half-made
          one, and a creator that is killed leaves nothing.
          All its memory is allocated when it is made: no SIGBUS later.
Stands on ipckit._core (layout), ipckit.errors.
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

from ipckit._cgroup import refuse_over_group
from ipckit._core import check, ffi, lib
from ipckit.errors import AccessDenied, NotFound, SegmentCorrupt, from_errno, system_call
from ipckit.table.schema import TYPE_FLOAT, Schema

__all__ = [
    "FOLDER",
    "PREFIX",
    "check_name",
    "file_of",
    "give_name",
    "make_anonymous",
    "make_named",
    "mapped_segments",
    "named_segments",
    "open_named",
    "remove_named",
    "unnamed_file",
]

PREFIX = "ipckit."
FOLDER = "/dev/shm"  # noqa: S108  (the kernel's place for shared memory, not a temporary file)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")


def check_name(name: object) -> str:
    """Return the path of a named segment. TypeError, ValueError."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"name={name!r}: must be 1..200 of A-Z a-z 0-9 . _ -")
    return f"{FOLDER}/{PREFIX}{name}"


def make_anonymous(size: int, schema: Schema) -> int:
    """Return the descriptor of a new segment without a name."""
    with system_call("memfd_create", f"a table of {size} rows"):
        fd = os.memfd_create("ipckit.table", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        _fill(fd, size, schema)
        # No process that inherits it can truncate it under the others.
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_named(name: str, size: int, schema: Schema, mode: int) -> int:
    """Return the descriptor of a new segment, there under its name. AlreadyExists."""
    path = check_name(name)
    if not isinstance(mode, int) or not 0 <= mode <= 0o777:
        shown = f"{mode:#o}" if isinstance(mode, int) else repr(mode)
        raise ValueError(f"mode={shown}: must be permission bits, 0..0o777")
    fd = unnamed_file()
    try:
        _fill(fd, size, schema)
        with system_call("fchmod", f"the table {path}"):
            os.fchmod(fd, mode)
        give_name(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def unnamed_file() -> int:
    """Return the descriptor of an empty file of shared memory that has no name yet, mode 0600."""
    remedy = f"mount it (mount -t tmpfs -o mode=1777 tmpfs {FOLDER}), or give no name"
    with system_call("open", f"an unnamed file in {FOLDER}", remedy):
        return os.open(FOLDER, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)


def give_name(fd: int, path: str) -> None:
    """Link an unnamed file into its folder: there, whole, or not at all. AlreadyExists."""
    what = f"naming the table {path}"
    # A directory descriptor makes it linkat(2), which follows the link that /proc gives.
    with system_call("open", f"/proc/self/fd, {what}", "mount it: mount -t proc proc /proc"):
        folder = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with system_call("linkat", what):
            os.link(str(fd), path, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def open_named(name: str) -> int:
    """Return the descriptor of a named segment.

    NotFound, AccessDenied (another user's, or others may write what its owner did not allow),
    SegmentCorrupt (no regular file).
    """
    path = check_name(name)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFound(
            errno.ENOENT, f"open: there is no table {name!r} ({path}); create() makes one"
        ) from None
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise SegmentCorrupt(f"{path} is a symbolic link, no table") from None
        raise from_errno("open", exc.errno or errno.EIO, f"the table {name!r} ({path})") from None
    try:
        with system_call("fstat", path):
            found = os.fstat(fd)
        _check_file(found, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def file_of(fd: int) -> tuple[int, int]:
    """Return what no other file has while this one is open or mapped: device and inode."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def remove_named(name: str, file: tuple[int, int] | None = None) -> None:
    """Take the segment's name away. NotFound, AccessDenied.

    `file`: only from this one, by file_of(); another one of that name is NotFound, and stays.
    """
    path = check_name(name)
    try:
        found = os.lstat(path)
        if file is not None and (found.st_dev, found.st_ino) != file:
            raise NotFound(
                errno.ENOENT,
                f"unlink: {path} is another one by now, which stays: this one was removed before",
            )
        os.unlink(path)
    except NotFound:
        raise
    except OSError as exc:
        raise from_errno("unlink", exc.errno or errno.EIO, f"the table {name!r}") from None


def named_segments() -> list[str]:
    """Return the paths of all segments with a name, whoever they belong to."""
    try:
        names = os.listdir(FOLDER)
    except FileNotFoundError:
        return []  # a machine without shared memory that has names
    return sorted(f"{FOLDER}/{name}" for name in names if name.startswith(PREFIX))


def mapped_segments(pid: int) -> list[str]:
    """Return the paths of the named segments that a process has. OSError: it cannot be looked at.

    By device and inode: where it was made under no name, the kernel still tells of none.
    """
    with open(f"/proc/{pid}/maps", "rb") as file:
        used = {tuple(line.split(None, 5)[3:5]) for line in file if FOLDER.encode() in line}
    found = []
    for path in named_segments():
        with contextlib.suppress(FileNotFoundError):
            entry = os.lstat(path)
            device = f"{os.major(entry.st_dev):02x}:{os.minor(entry.st_dev):02x}"
            if (device.encode(), str(entry.st_ino).encode()) in used:
                found.append(path)
    return found


def _check_file(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SegmentCorrupt(f"{path} is no regular file, so no table")
    if found.st_uid != os.geteuid():
        raise AccessDenied(
            errno.EACCES,
            f"open: {path} belongs to user {found.st_uid}, not to {os.geteuid()}; it is not used",
        )
    if found.st_mode & 0o022:
        raise AccessDenied(
            errno.EACCES,
            f"open: {path} has mode {stat.S_IMODE(found.st_mode):#o}: others may write to it, so"
            " it is not trusted; remove it, or take the rights away",
        )


def _fill(fd: int, size: int, schema: Schema) -> None:
    columns = _columns(schema)
    count = len(schema.names)
    total = check(
        lib.ipk_table_layout(size, schema.key_size, columns, count),
        "layout",
        f"a table of {size} rows of {schema.row_bytes} bytes is over the address space",
    )
    refuse_over_group(
        total,
        "posix_fallocate",
        f"a table of {size} rows needs {total} bytes of shared memory; make it smaller",
    )
    try:
        os.posix_fallocate(fd, 0, total)
    except OSError as exc:
        raise from_errno(
            "posix_fallocate",
            exc.errno or errno.EIO,
            f"a table of {size} rows needs {total} bytes of shared memory",
            f"make it smaller, or free some (see df {FOLDER}), or make that larger (docker run "
            f"--shm-size)",
        ) from None
    with system_call("mmap", f"a table of {total} bytes"):
        memory = mmap.mmap(fd, total)
    with memory, ffi.from_buffer(memory) as base:
        check(
            lib.ipk_table_format(
                base, total, size, schema.key_size, columns, count, os.urandom(32)
            ),
            "format",
            "writing the header of a table",
        )


def _columns(schema: Schema) -> object:
    columns = ffi.new("struct ipk_column[]", len(schema.names))
    for entry, name in zip(columns, schema.names, strict=True):
        column = schema.columns[name]
        code = name.encode()
        entry.type = column.kind
        entry.size = 8 if column.kind == TYPE_FLOAT else column.size
        entry.name_size = len(code)
        ffi.memmove(entry.name, code, len(code))
    return columns

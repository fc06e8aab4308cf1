"""The run record: what a server would leave behind if it were killed whole, for the next one.

A file in the runtime directory, `run-PID-....jsonl`, one line for each thing as it is made. It is
locked for as long as the manager lives; one that is not locked is a dead run's, and whoever finds
it (the next start in this runtime directory, `ipckit rm --leaked`) removes what it names.

Contract  what is removed is what was noted: a queue by its id, key, owner and time of change; a
          directory only if it is ours and named as ours are. A record that is locked, or another
          user's, is left alone, and so is everything that no record names. What is kept on purpose
          (a ledger with a name, a queue with a key) is not noted.
Stands on fcntl(2) record locks: a fork does not inherit them, a death ends them. open(2) O_TMPFILE,
          linkat(2): the file has its lock before it has its name.
Crash     between making a thing and noting it, it stays.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator
from typing import Any

from ipckit.errors import IPCError, NotFound
from ipckit.queue import SysvQueue
from ipckit.server.log import log
from ipckit.server.spill import SPILL_PREFIX, private_directory

__all__ = ["RunRecord", "dead_runs", "sweep"]

_PREFIX, _SUFFIX = "run-", ".jsonl"

_OURS: set[str] = set()
"""Records of this process: to open and close one would end its lock."""


class RunRecord:
    """The record of one server. Of the manager; made when there is something to note."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._path = ""
        self._fd = -1

    def note_queue(self, queue: SysvQueue) -> None:
        """A private queue. After its last change."""
        found = queue.statistics()
        self._note({
            "queue": queue.id,
            "key": queue.key or 0,
            "uid": found.uid,
            "changed_at": found.changed_at,
        })  # fmt: skip

    def note_directory(self, path: str) -> None:
        """A directory of spill files."""
        self._note({"directory": path})

    def note_pid_file(self, path: str) -> None:
        """A pid file with our pid."""
        self._note({"pid_file": path, "pid": os.getpid()})

    def _note(self, thing: dict[str, Any]) -> None:
        try:
            if self._fd < 0:
                self._make()
            os.write(self._fd, json.dumps(thing).encode() + b"\n")
        except (IPCError, OSError) as exc:
            log.warning(
                "if this server is killed, %s stays: there is no run record: %s", thing, exc
            )

    def _make(self) -> None:
        flags = os.O_TMPFILE | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        directory = private_directory(self._directory)
        self._fd = os.open(directory, flags, 0o600)
        fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        name = f"{_PREFIX}{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}"
        self._path = os.path.join(self._directory, name)
        # With a dir_fd it is linkat(2); without one it would be link(2), which follows no link.
        at = os.open(directory, os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.link(f"/proc/self/fd/{self._fd}", name, dst_dir_fd=at, follow_symlinks=True)
        finally:
            os.close(at)
        _OURS.add(self._path)

    def finish(self) -> None:
        """All of it is removed in order; so is the record."""
        if self._fd < 0:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        os.close(self._fd)
        self._fd = -1
        _OURS.discard(self._path)


def dead_runs(directory: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the records of dead runs, and what each names. Changes nothing."""
    return list(_unlocked(directory))


def sweep(directory: str) -> list[str]:
    """Remove what dead runs left, and their records; return what was removed, in words."""
    removed = []
    for path, things in _unlocked(directory):
        for thing in things:
            try:
                removed += _remove(thing)
            except (IPCError, OSError, KeyError, TypeError) as exc:
                log.warning("%s of a dead server stays: %s", thing, exc)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    return removed


def _unlocked(directory: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Give each record whose run is dead, locked by us meanwhile."""
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for name in sorted(names):
        path = os.path.join(directory, name)
        if not (name.startswith(_PREFIX) and name.endswith(_SUFFIX)) or path in _OURS:
            continue
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(fd)
            if found.st_nlink and stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                yield path, _things(os.pread(fd, found.st_size, 0))
        except OSError as exc:
            if exc.errno not in (errno.EACCES, errno.EAGAIN):  # it lives
                raise
        finally:
            os.close(fd)


def _things(text: bytes) -> list[dict[str, Any]]:
    """Read the lines; the last one may be cut off."""
    things = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            thing = json.loads(line)
            if isinstance(thing, dict):
                things.append(thing)
    return things


def _remove(thing: dict[str, Any]) -> list[str]:
    if "queue" in thing:
        return _remove_queue(thing)
    if "directory" in thing:
        return _remove_directory(thing["directory"])
    path = thing["pid_file"]
    with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as file:
        if file.read().strip() == str(thing["pid"]):
            os.unlink(path)
            return [f"pid file {path}"]
    return []


def _remove_queue(thing: dict[str, Any]) -> list[str]:
    try:
        queue = SysvQueue.open_id(thing["queue"])
        found = queue.statistics()
    except NotFound:
        return []
    same = (found.uid, found.changed_at, queue.key or 0)
    if same != (thing["uid"], thing["changed_at"], thing["key"]):
        return []  # the number is another queue's by now
    queue.remove()
    return [f"queue {thing['queue']}"]


def _remove_directory(path: str) -> list[str]:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return []
    if not stat.S_ISDIR(found.st_mode) or not os.path.basename(path).startswith(SPILL_PREFIX):
        return []
    shutil.rmtree(path)
    return [f"directory {path}"]

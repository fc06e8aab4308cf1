"""The run record: what a server would leave behind if it were killed whole, for the next one.

A file in the runtime directory, `run-PID-....jsonl`, one line for each thing as it is made. It is
locked for as long as the manager lives; one that is not locked is a dead run's, and whoever finds
it (the next start in this runtime directory, `ipckit rm --leaked`) removes what it names.

Contract  what is removed is what was noted, and is still what it was (`leftovers`). A
          record that is locked, or another user's, is left alone, and so is everything that no
          record names. What is noted as kept (a ledger with a name, a queue with a key, a table
          with a name) waits for the next server that uses it: a sweep leaves it, with its line,
          until a live run notes it as well, or it is asked for.
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
import stat
from collections.abc import Callable, Iterator

from ipckit._segments import mapped_segments
from ipckit.errors import IPCError, from_errno, system_call
from ipckit.queue import SysvQueue
from ipckit.server.log import log
from ipckit.server.rundir import leftovers
from ipckit.server.rundir.leftovers import Thing
from ipckit.server.rundir.runtime_dir import private_directory

__all__ = ["RunRecord", "dead_runs", "live_runs", "sweep"]

_PREFIX, _SUFFIX = "run-", ".jsonl"

_OURS: set[str] = set()
"""Records of this process: to open and close one would end its lock."""


class RunRecord:
    """The record of one server. Of the manager; made when there is something to note."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._path = ""
        self._fd = -1
        self._segments: set[str] = set()

    def note_queue(self, queue: SysvQueue, *, kept: bool = False) -> None:
        """A queue. After its last change."""
        self._note(leftovers.of_queue(queue), kept=kept)

    def note_directory(self, path: str, *, kept: bool = False) -> None:
        """A directory of spill files."""
        self._note(leftovers.of_directory(path), kept=kept)

    def note_pid_file(self, path: str) -> None:
        """A pid file with our pid."""
        self._note(leftovers.of_pid_file(path))

    def note_segments(self, pid: int) -> None:
        """The ledger and the tables with a name that one of our processes has: kept."""
        with contextlib.suppress(OSError):  # it is gone already, or its user is another's
            for path in {*mapped_segments(pid)} - self._segments:
                self._segments.add(path)
                self._note(leftovers.of_segment(path), kept=True)

    def note_socket(self, path: str) -> None:
        """The file of a unix socket outside the runtime directory."""
        self._note(leftovers.of_socket(path))

    def _note(self, thing: Thing, *, kept: bool = False) -> None:
        try:
            if self._fd < 0:
                self._make()
            line = {**thing, "kept": True} if kept else thing
            os.write(self._fd, json.dumps(line).encode() + b"\n")
            if kept:  # from now on it is ours, and no dead run's any more
                for path, fd, things in _unlocked(self._directory):
                    rest = [each for each in things if not leftovers.same(each, thing)]
                    _rewrite(path, fd, things, rest)
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


def dead_runs(directory: str) -> list[tuple[str, list[Thing]]]:
    """Return the records of dead runs, and what each names. Changes nothing."""
    return [(path, things) for path, _, things in _unlocked(directory)]


def live_runs(directory: str) -> list[tuple[int, list[Thing]]]:
    """Return the managers of live runs, and what the record of each names. Changes nothing."""
    found = []
    for path, fd in _records(directory):
        if not _is_free(fd):
            pid = os.path.basename(path).removeprefix(_PREFIX).partition("-")[0]
            if pid.isdecimal():
                found.append((int(pid), _things(fd)))
    return found


def sweep(directory: str, wanted: Callable[[Thing], bool] | None = None) -> list[str]:
    """Remove what dead runs left; return what was removed, in words.

    `wanted` says what; without it: all that is not kept. A record goes when nothing it names is
    there any more. What cannot be removed stays, and the log says why.
    """
    wanted = wanted or (lambda thing: not thing.get("kept"))
    removed = []
    for path, fd, things in _unlocked(directory):
        rest = []
        for thing in things:
            if not wanted(thing):
                if leftovers.is_there(thing):
                    rest.append(thing)
                continue
            try:
                if leftovers.remove(thing):
                    removed.append(leftovers.in_words(thing))
            except (IPCError, OSError) as exc:
                log.warning("%s of a dead server stays: %s", leftovers.in_words(thing), exc)
                rest.append(thing)
        _rewrite(path, fd, things, rest)
    return removed


def _unlocked(directory: str) -> Iterator[tuple[str, int, list[Thing]]]:
    """Give each record whose run is dead; it is locked by this process while it is out."""
    for path, fd in _records(directory):
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno in (errno.EACCES, errno.EAGAIN):  # it lives
                continue
            raise from_errno("fcntl", exc.errno or errno.EIO, f"the run record {path}") from None
        with system_call("fstat or pread", f"the run record {path}"):
            there, things = os.fstat(fd).st_nlink, _things(fd)
        if there:
            yield path, fd, things


def _records(directory: str) -> Iterator[tuple[str, int]]:
    """Give the path and a descriptor of each record of this user's, except this process's own."""
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    except OSError as exc:
        detail = f"{directory}, to look for run records"
        raise from_errno("opendir", exc.errno or errno.EIO, detail) from None
    for name in sorted(names):
        path = os.path.join(directory, name)
        if not (name.startswith(_PREFIX) and name.endswith(_SUFFIX)) or path in _OURS:
            continue
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            with system_call("fstat", f"the run record {path}"):
                found = os.fstat(fd)
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                yield path, fd
        finally:
            os.close(fd)


def _is_free(fd: int) -> bool:
    """Whether nobody has the lock; it is not taken."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    fcntl.lockf(fd, fcntl.LOCK_UN)
    return True


def _things(fd: int) -> list[Thing]:
    """Read the lines; the last one may be cut off."""
    things = []
    for line in os.pread(fd, os.fstat(fd).st_size, 0).splitlines():
        with contextlib.suppress(ValueError):
            thing = json.loads(line)
            if isinstance(thing, dict):
                things.append(thing)
    return things


def _rewrite(path: str, fd: int, things: list[Thing], rest: list[Thing]) -> None:
    """Leave these lines of a dead run's record; without any the record goes.

    A crash on the way leaves lines twice, or one that is cut off: both are harmless.
    """
    if not rest:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    elif rest != things:
        text = b"".join(json.dumps(thing).encode() + b"\n" for thing in rest)
        os.pwrite(fd, text, 0)
        os.ftruncate(fd, len(text))

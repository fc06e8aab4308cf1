"""The whole inventory: the kernel's lists, what lies in runtime directories, and the run records.

Contract  nothing is changed. What a live process makes or removes during the look may be missed.
Stands on ipckit.cli.inventory.{kernel,system_v,processes,entry}, ipckit.server.rundir.run_record.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ipckit.cli.inventory import kernel
from ipckit.cli.inventory.entry import IDLE, LEAKED, USED, Entry, Run, judged
from ipckit.cli.inventory.processes import Users
from ipckit.cli.inventory.system_v import OBJECTS
from ipckit.errors import from_errno
from ipckit.server.monitoring.control_socket import control_sockets
from ipckit.server.rundir import leftovers
from ipckit.server.rundir.run_record import dead_runs, live_runs, sweep
from ipckit.server.rundir.runtime_dir import LEDGER_PREFIX, SPILL_PREFIX
from ipckit.server.system.process_state import is_gone
from ipckit.server.system.socket_file import is_abandoned

__all__ = ["Inventory", "collect", "remove"]


class Inventory(NamedTuple):
    """All objects, ours first, and what could not be seen."""

    entries: list[Entry]
    notes: list[str]
    directories: Sequence[str]


def collect(directories: Sequence[str]) -> Inventory:
    """Look at everything; `directories` are the runtime directories."""
    users, mount = Users(), kernel.own_mqueue_mount()
    runs = list(_runs(directories))
    seen = [
        *kernel.shared_files(users),
        *kernel.system_v(users),
        *kernel.posix_queues(users, mount),
        *_files_of_runs(runs),
    ]
    named = {each.name for each in seen}
    seen += [each for each in _in_directories(directories) if each.name not in named]
    entries = [judged(each, runs) for each in seen]
    entries.sort(key=lambda each: not each.ours)
    notes = []
    if mount is None:
        others = " ".join(kernel.mqueue_mounts())
        why = f"at {others} is of another IPC namespace" if others else "is not mounted"
        notes.append(
            f"POSIX queues are not listed: their file system {why} "
            f"(mkdir -p /dev/mqueue; mount -t mqueue none /dev/mqueue)"
        )
    if users.hidden:
        notes.append(
            f"processes that may not be looked at: {users.hidden}; what only they use is idle here"
        )
    return Inventory(entries, notes, directories)


def _runs(directories: Sequence[str]) -> Iterator[Run]:
    for directory in directories:
        for manager, things in live_runs(directory):
            yield Run(manager, alive=True, things=things)
        for path, things in dead_runs(directory):
            pid = os.path.basename(path).split("-")[1]
            left = [thing for thing in things if leftovers.is_there(thing)]
            yield Run(int(pid) if pid.isdecimal() else 0, alive=False, things=left)


def _files_of_runs(runs: Sequence[Run]) -> Iterator[Entry]:
    """Give what records name and the kernel does not list: directories, sockets, pid files."""
    for run in runs:
        for thing in run.things:
            for key, kind in (
                ("directory", "task files"),
                ("socket", "unix socket"),
                ("pid_file", "pid file"),
            ):
                if key in thing:
                    with contextlib.suppress(FileNotFoundError):
                        yield _file(thing[key], kind, thing)


def _in_directories(directories: Sequence[str]) -> Iterator[Entry]:
    """Give what lies in the runtime directories, whether a record names it or not."""
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            if name.startswith((SPILL_PREFIX, LEDGER_PREFIX)):
                path = os.path.join(directory, name)
                with contextlib.suppress(FileNotFoundError):
                    yield _file(path, "task files", leftovers.of_directory(path), _verdict(name))
        for path in control_sockets(directory):
            with contextlib.suppress(FileNotFoundError):
                verdict = LEAKED if is_abandoned(path) else USED
                yield _file(path, "control socket", leftovers.of_socket(path), verdict)


def _verdict(name: str) -> str:
    """Return what can be said of a directory without its record: its name has the server's pid."""
    if name.startswith(LEDGER_PREFIX):
        return IDLE
    pid = name.removeprefix(SPILL_PREFIX).partition("-")[0]
    return USED if pid.isdecimal() and not is_gone(int(pid)) else LEAKED


def _file(path: str, kind: str, thing: leftovers.Thing, verdict: str = IDLE) -> Entry:
    found = os.lstat(path)
    size, content = found.st_size, ""
    if stat.S_ISDIR(found.st_mode):
        sizes = []
        with os.scandir(path) as files:
            for each in files:
                with contextlib.suppress(FileNotFoundError):  # its server removed it just now
                    sizes.append(each.stat(follow_symlinks=False).st_size)
        size, content = sum(sizes), f"{len(sizes)} files"
    mode = stat.S_IMODE(found.st_mode)
    return Entry(path, kind, found.st_uid, mode, size, content, thing, ours=True, verdict=verdict)


def remove(entries: Sequence[Entry], directories: Sequence[str]) -> list[str]:
    """Remove them, and the lines of records that name them; return the names of what went.

    Raises IPCError, OSError for the first that cannot be removed: those before it are gone.
    """
    gone = [each.name for each in entries if _removed(each)]
    for directory in directories:
        sweep(directory, lambda thing: any(leftovers.same(thing, one.thing) for one in entries))
    return gone


def _removed(entry: Entry) -> bool:
    thing = entry.thing
    try:
        if "shm" in thing:
            OBJECTS.remove_segment(thing["shm"])
        elif "sem" in thing:
            OBJECTS.remove_semaphores(thing["sem"])
        elif "mqueue" in thing:
            # The file that was listed: its name may be another queue's in another IPC namespace.
            if os.lstat(thing["mqueue"]).st_ino != thing["inode"]:
                return False
            os.unlink(thing["mqueue"])
        else:
            return leftovers.remove(thing)
    except FileNotFoundError:
        return False
    except PermissionError:
        raise from_errno(
            "remove", 13, f"{entry.name} belongs to user {entry.owner}; be that user, or root"
        ) from None
    return True

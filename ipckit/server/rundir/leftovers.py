"""What a server leaves when it is killed whole: whether a thing is still there, and away with it.

A thing is a line of a run record: a JSON object with its kind as a key, what tells it from another
one of the same name, and "kept" if it was left on purpose, for the next server with that name.

Contract  a thing that is another one by now (the number or the name was given again) is not there.
Stands on ipckit.queue, stat(2), unix(7).
Blocks    never.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from typing import Any

from ipckit.errors import IPCError, NotFound, QueueRemoved, system_call
from ipckit.queue import SysvQueue
from ipckit.server.rundir.runtime_dir import LEDGER_PREFIX, SPILL_PREFIX
from ipckit.server.system.socket_file import is_abandoned, remove_abandoned

__all__ = [
    "Thing",
    "in_words",
    "is_there",
    "of_directory",
    "of_pid_file",
    "of_queue",
    "of_segment",
    "of_socket",
    "remove",
    "same",
]

Thing = dict[str, Any]

_KINDS = {
    "queue": "queue",
    "directory": "directory",
    "pid_file": "pid file",
    "segment": "segment",
    "socket": "socket",
}


def of_queue(queue: SysvQueue) -> Thing:
    """Return the thing for a queue, after its last change."""
    found = queue.statistics()
    return {
        "queue": queue.id,
        "key": queue.key or 0,
        "uid": found.uid,
        "changed_at": found.changed_at,
    }


def of_directory(path: str) -> Thing:
    """Return the thing for a directory of spill files."""
    return {"directory": path}


def of_pid_file(path: str) -> Thing:
    """Return the thing for a pid file with our pid."""
    thing: Thing = {"pid_file": path, "pid": os.getpid()}
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        thing |= {"inode": found.st_ino, "written_at": found.st_mtime_ns}
    return thing


def of_segment(path: str) -> Thing:
    """Return the thing for a named segment of shared memory. FileNotFoundError."""
    return {"segment": path, "inode": _inode(path)}


def of_socket(path: str) -> Thing:
    """Return the thing for the file of a unix socket. FileNotFoundError."""
    return {"socket": path, "inode": _inode(path)}


def _inode(path: str) -> int:
    with system_call("stat", path):
        return os.lstat(path).st_ino


def in_words(thing: Thing) -> str:
    """Return what it is, for people."""
    for kind, word in _KINDS.items():
        if kind in thing:
            return f"{word} {thing[kind]}"
    return str(thing)


def same(one: Thing, other: Thing) -> bool:
    """Whether two records speak of one thing."""
    return any(kind in one and one[kind] == other.get(kind) for kind in _KINDS)


def is_there(thing: Thing) -> bool:
    """Whether it is still there, and the one that was noted. False for what is no thing."""
    try:
        if "queue" in thing:
            return _queue(thing) is not None
        if "directory" in thing:
            path = thing["directory"]
            ours = str(os.path.basename(path)).startswith((SPILL_PREFIX, LEDGER_PREFIX))
            return ours and stat.S_ISDIR(os.lstat(path).st_mode)
        if "segment" in thing:
            return bool(os.lstat(thing["segment"]).st_ino == thing["inode"])
        if "socket" in thing:
            path = thing["socket"]
            return os.lstat(path).st_ino == thing["inode"] and is_abandoned(path)
        with open(thing["pid_file"], encoding="utf-8") as file:
            found = os.fstat(file.fileno())  # in containers each server's pid may be 1
            noted = thing.get("inode", found.st_ino), thing.get("written_at", found.st_mtime_ns)
            same_file = noted == (found.st_ino, found.st_mtime_ns)
            return same_file and bool(file.read().strip() == str(thing["pid"]))
    except (IPCError, OSError, KeyError, TypeError, ValueError):
        return False


def remove(thing: Thing) -> bool:
    """Remove it if it is there; False: it is not. Raises IPCError, OSError: it stays."""
    if not is_there(thing):
        return False
    with contextlib.suppress(FileNotFoundError, NotFound, QueueRemoved):
        if "queue" in thing:
            SysvQueue.open_id(thing["queue"]).remove()
        elif "directory" in thing:
            shutil.rmtree(thing["directory"])
        elif "socket" in thing:
            return remove_abandoned(thing["socket"])
        else:
            os.unlink(next(thing[kind] for kind in ("segment", "pid_file") if kind in thing))
    return True


def _queue(thing: Thing) -> SysvQueue | None:
    try:
        queue = SysvQueue.open_id(thing["queue"])
        found = queue.statistics()
    except (NotFound, QueueRemoved):
        return None
    noted = (thing["uid"], thing["changed_at"], thing["key"])
    return queue if (found.uid, found.changed_at, queue.key or 0) == noted else None

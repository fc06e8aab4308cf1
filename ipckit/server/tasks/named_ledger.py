"""A task ledger with a name: a file of shared memory that outlives its server.

Contract  one live server has it (a name in the abstract namespace, which goes with its last
          process); it is made whole before it has its name; one that is there is taken up if it
          is of the size that is asked for, or holds no task.
Stands on ipckit._segments (files of shared memory), ipckit._core._ledger.
Crash     the file stays, until a server with its name ends with nothing left in it.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket

from ipckit._cgroup import refuse_over_group
from ipckit._core import _ledger
from ipckit._segments import FOLDER, LEDGERS, unnamed_file
from ipckit.errors import (
    AlreadyExists,
    NotFound,
    SegmentCorrupt,
    SettingsError,
)
from ipckit.server.system.acquire import hold_name, mapped, system_call

__all__ = ["claim", "named_memory", "tasks_in"]

Shape = tuple[int, int, int, int, int]


def claim(name: str) -> socket.socket:
    """Return what only one live server can have for this name. AlreadyExists."""
    guard = hold_name(f"ipckit-task-ledger-{os.geteuid()}-{name}", FOLDER)
    if guard is None:
        raise AlreadyExists(
            errno.EEXIST, f"a live server has task_ledger {name!r}: stop it, or choose another name"
        )
    return guard


def named_memory(name: str, shape: Shape) -> tuple[mmap.mmap, bool]:
    """Return the memory of the ledger with this name, and whether it was there."""
    try:
        fd = LEDGERS.open(name)
    except NotFound:
        return _make(name, shape), False
    try:
        with system_call("fstat", f"the task ledger {name!r}"):
            size = os.fstat(fd).st_size
        memory = mapped(fd, size) if size else None
    finally:
        _close(fd, name)
    if memory is not None and size == _ledger.size_of(*shape) and _shape_of(memory) == shape:
        return memory, True
    if memory is not None and _tasks(memory):
        raise SettingsError(
            f"task_ledger={name!r} holds tasks, and was made for (task_queue_size, blocks of "
            f"task_memory, worker_num, task_worker_num, slabs of task_memory) = "
            f"{_shape_of(memory)}, not {shape}: start "
            f"it with those once more, or remove {LEDGERS.path_of(name)}"
        )
    LEDGERS.remove(name)
    return _make(name, shape), False


def _make(name: str, shape: Shape) -> mmap.mmap:
    size = _ledger.size_of(*shape)
    with system_call("open", "a file of shared memory in /dev/shm for task_ledger"):
        fd = unnamed_file()
    try:
        refuse_over_group(
            size,
            "posix_fallocate",
            f"a task ledger of {size} bytes of shared memory; lower task_memory",
        )
        with system_call(
            "posix_fallocate",
            f"a task ledger of {size} bytes of shared memory",
            f"lower task_memory, or free some (see df {FOLDER}), or make that larger (docker run "
            f"--shm-size)",
        ):
            os.posix_fallocate(fd, 0, size)
        memory = mapped(fd, size)
        _ledger.lay_out(memory, *shape)
        LEDGERS.give_name(fd, name)
    finally:
        _close(fd, name)
    return memory


def _close(fd: int, name: str) -> None:
    with system_call("close", f"the task ledger {name!r}"):
        os.close(fd)


def _shape_of(memory: mmap.mmap) -> Shape | None:
    return _ledger.shape_of(memory)


def tasks_in(path: str) -> int:
    """Return how many tasks the ledger in this file holds. SegmentCorrupt, OSError."""
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if not size:
            raise SegmentCorrupt("the file with the ledger's name is empty")
        with mmap.mmap(fd, size) as memory:
            return _tasks(memory)
    finally:
        os.close(fd)


def _tasks(memory: mmap.mmap) -> int:
    shape = _shape_of(memory)
    if shape is None:
        raise SegmentCorrupt("the file with the ledger's name is no task ledger, or is damaged")
    places = 2 * (shape[2] + shape[3])
    states = _ledger.Ledger(memory, places, [-1] * (places + 1)).totals()[0]
    return shape[0] - states[_ledger.FREE]

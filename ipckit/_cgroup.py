"""What a control group leaves to its processes, and the refusal of memory that it does not.

A process over the memory limit of its group is killed by SIGKILL: posix_fallocate(3) of shared
memory gets no error. So a large piece is compared with what is left before it is taken.

Contract  memory_left() counts what the kernel can reclaim (the cache of files) as left, and swap,
          so a refused piece would not have fitted. The result is no reservation: other processes
          may take memory before the caller does.
Kernel    cgroups(7) of both versions: memory.max, memory.current, memory.stat.
Stands on ipckit.errors (tier T0).
Errors    what this kernel does not have, or does not show, is None: unknown.
"""

from __future__ import annotations

import contextlib
import errno
import os

from ipckit.errors import from_errno

__all__ = ["left", "memory_left", "memory_limit", "number", "refuse_over_group"]

_SMALL = 1 << 20
"""Less than this is not compared: a killed group was about to be killed anyway."""

_UNLIMITED = 2**60
"""cgroups of version 1 write a number above this for "max"."""

_OWN, _MOUNT = "/proc/self/cgroup", "/sys/fs/cgroup"

_MEMORY = (
    ("memory.max", "memory.limit_in_bytes"),
    ("memory.current", "memory.usage_in_bytes"),
)
_CACHE = (("active_file", "inactive_file"), ("total_active_file", "total_inactive_file"))


def refuse_over_group(size: int, call: str, detail: str) -> None:
    """Raise SystemCallError (ENOMEM) if `size` bytes are more than the group's limit leaves."""
    if size < _SMALL:
        return
    there = memory_left()
    if there is not None and size > there:
        raise from_errno(
            call,
            errno.ENOMEM,
            f"{detail}; the memory limit of the control group leaves {max(there, 0):.0f} bytes, "
            f"and a process over it is killed: raise it (memory.max, docker run --memory)",
        )


def memory_left(own: str = _OWN, mount: str = _MOUNT) -> float | None:
    """Return the bytes that the tightest group on the way up can still give; None: no limit."""
    found = []
    for directory, version in _groups("memory", own, mount):
        limit = number(os.path.join(directory, _MEMORY[0][version]))
        if limit is not None:
            used = number(os.path.join(directory, _MEMORY[1][version])) or 0
            found.append(limit - used + _reclaimable(directory, version) + _swap(directory))
    return min(found, default=None)


def memory_limit(own: str = _OWN, mount: str = _MOUNT) -> float | None:
    """Return the tightest memory limit of our group and those above it, bytes; None: unknown."""
    found = (
        number(os.path.join(directory, _MEMORY[0][version]))
        for directory, version in _groups("memory", own, mount)
    )
    return min((each for each in found if each is not None), default=None)


def left(kind: str, most: tuple[str, str], now: tuple[str, str]) -> float | None:
    """Return what the tightest group on the way up leaves of `most`; None: no group limits it."""
    found = []
    for directory, version in _groups(kind, _OWN, _MOUNT):
        limit = number(os.path.join(directory, most[version]))
        if limit is not None:
            found.append(limit - (number(os.path.join(directory, now[version])) or 0))
    return min(found, default=None)


def number(path: str) -> float | None:
    """Return the number in a file of the kernel; infinity for "max", None: there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read().strip()
        value = float("inf") if text == "max" else int(text)
    except (OSError, ValueError):
        return None
    return float("inf") if value >= _UNLIMITED else value


def _reclaimable(directory: str, version: int) -> float:
    """Return the bytes of files in the cache: the kernel drops them before it kills."""
    words = _table(os.path.join(directory, "memory.stat"))
    return sum(words.get(name, 0) for name in _CACHE[version])


def _swap(directory: str) -> float:
    """Return the bytes that may still be swapped out, by the machine and by the group."""
    free = _table("/proc/meminfo").get("SwapFree:", 0) * 1024
    most = number(os.path.join(directory, "memory.swap.max"))
    if most is None:
        return free
    return max(0, min(free, most - (number(os.path.join(directory, "memory.swap.current")) or 0)))


def _table(path: str) -> dict[str, int]:
    """Return the lines "name number ..." of a file."""
    found = {}
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        for line in file:
            name, value, *_ = line.split()
            found[name] = int(value)
    return found


def _groups(kind: str, own: str, mount: str) -> list[tuple[str, int]]:
    """Return the directories of our group and those above it; 0: of version 2, 1: of version 1."""
    found = []
    with contextlib.suppress(OSError, ValueError), open(own, "rb") as file:
        for line in file:
            _, kinds, path = os.fsdecode(line.rstrip(b"\n")).split(":", 2)
            if not kinds:
                root, version = mount, 0
            elif kind in kinds.split(","):
                root, version = os.path.join(mount, kind), 1
            else:
                continue
            parts = [part for part in path.split("/") if part and part != ".."]
            found += [
                (os.path.join(root, *parts[:deep]), version) for deep in range(len(parts) + 1)
            ]
    return found

"""What the kernel says of its limits, read once.

Stands on /proc/sys, getrlimit(2), statvfs(2), cgroups(7) of both versions.
Errors    what this kernel does not have, or does not show, is None: unknown.
"""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass

__all__ = ["Facts", "read"]

_UNLIMITED = 2**60
"""cgroups of version 1 write a number above this for "max"."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Numbers; None: unknown. A limit that is off is infinity."""

    msgmax: float | None
    msgmnb: float | None
    msgmni: float | None
    queues: int | None  # System V queues there are
    mq_messages: float | None
    mq_size: float | None
    mq_queues: float | None
    mq_bytes: float  # RLIMIT_MSGQUEUE
    shm_size: int | None
    shm_free: int | None
    descriptors: float  # hard limit
    somaxconn: float | None
    processes: float  # RLIMIT_NPROC; root has none
    pid_max: float | None
    cgroup_pids: float | None  # that may still be made
    cgroup_memory: float | None  # bytes that may still be had
    container: str  # "" outside


def read() -> Facts:
    """Read all of them now."""
    shm_size, shm_free = _room("/dev/shm")  # noqa: S108  (where POSIX shared memory is)
    return Facts(
        msgmax=_number("/proc/sys/kernel/msgmax"),
        msgmnb=_number("/proc/sys/kernel/msgmnb"),
        msgmni=_number("/proc/sys/kernel/msgmni"),
        queues=_lines("/proc/sysvipc/msg"),
        mq_messages=_number("/proc/sys/fs/mqueue/msg_max"),
        mq_size=_number("/proc/sys/fs/mqueue/msgsize_max"),
        mq_queues=_number("/proc/sys/fs/mqueue/queues_max"),
        mq_bytes=_limit(12),  # RLIMIT_MSGQUEUE, which Python has no name for
        shm_size=shm_size,
        shm_free=shm_free,
        descriptors=_limit(resource.RLIMIT_NOFILE),
        somaxconn=_number("/proc/sys/net/core/somaxconn"),
        processes=_limit(resource.RLIMIT_NPROC) if os.geteuid() else float("inf"),
        pid_max=_number("/proc/sys/kernel/pid_max"),
        cgroup_pids=_left("pids", ("pids.max", "pids.max"), ("pids.current", "pids.current")),
        cgroup_memory=_left(
            "memory",
            ("memory.max", "memory.limit_in_bytes"),
            ("memory.current", "memory.usage_in_bytes"),
        ),
        container=_container(),
    )


def _number(path: str) -> float | None:
    try:
        with open(path, encoding="ascii") as file:
            text = file.read().strip()
        value = float("inf") if text == "max" else int(text)
    except (OSError, ValueError):
        return None
    return float("inf") if value >= _UNLIMITED else value


def _lines(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return sum(1 for _ in file) - 1
    except OSError:
        return None


def _limit(number: int) -> float:
    hard = resource.getrlimit(number)[1]
    return float("inf") if hard == resource.RLIM_INFINITY else hard


def _room(path: str) -> tuple[int | None, int | None]:
    try:
        found = os.statvfs(path)
    except OSError:
        return None, None
    return found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail


def _left(kind: str, most: tuple[str, str], now: tuple[str, str]) -> float | None:
    """Return what the tightest group on the way up leaves; None: no group limits it."""
    left = []
    for directory, version in _groups(kind):
        limit = _number(os.path.join(directory, most[version]))
        if limit is not None:
            left.append(limit - (_number(os.path.join(directory, now[version])) or 0))
    return min(left, default=None)


def _groups(kind: str) -> list[tuple[str, int]]:
    """Return the directories of our group and those above it; 0: of version 2, 1: of version 1."""
    found = []
    with contextlib.suppress(OSError), open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, kinds, path = line.rstrip("\n").split(":", 2)
            if not kinds:
                roots = [("/sys/fs/cgroup", 0)]
            elif kind in kinds.split(","):
                roots = [(f"/sys/fs/cgroup/{kind}", 1)]
            else:
                continue
            parts = [part for part in path.split("/") if part and part != ".."]
            for root, version in roots:
                found += [
                    (os.path.join(root, *parts[:deep]), version) for deep in range(len(parts) + 1)
                ]
    return found


def _container() -> str:
    if os.path.exists("/.dockerenv"):
        return "docker"
    if os.path.exists("/run/.containerenv"):
        return "podman"
    return "kubernetes" if "KUBERNETES_SERVICE_HOST" in os.environ else ""

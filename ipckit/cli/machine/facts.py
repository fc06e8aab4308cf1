"""What the kernel says of its limits, read once.

Stands on /proc/sys, getrlimit(2), statvfs(2), ipckit._cgroup.
Errors    what this kernel does not have, or does not show, is None: unknown.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

from ipckit import _cgroup

__all__ = ["Facts", "read"]


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
    cgroup_memory: float | None  # bytes that may still be allocated
    container: str  # "" outside


def read() -> Facts:
    """Read all of them now."""
    shm_size, shm_free = _room("/dev/shm")  # noqa: S108  (where POSIX shared memory is)
    return Facts(
        msgmax=_cgroup.number("/proc/sys/kernel/msgmax"),
        msgmnb=_cgroup.number("/proc/sys/kernel/msgmnb"),
        msgmni=_cgroup.number("/proc/sys/kernel/msgmni"),
        queues=_lines("/proc/sysvipc/msg"),
        mq_messages=_cgroup.number("/proc/sys/fs/mqueue/msg_max"),
        mq_size=_cgroup.number("/proc/sys/fs/mqueue/msgsize_max"),
        mq_queues=_cgroup.number("/proc/sys/fs/mqueue/queues_max"),
        mq_bytes=_limit(12),  # RLIMIT_MSGQUEUE, which Python has no name for
        shm_size=shm_size,
        shm_free=shm_free,
        descriptors=_limit(resource.RLIMIT_NOFILE),
        somaxconn=_cgroup.number("/proc/sys/net/core/somaxconn"),
        processes=_limit(resource.RLIMIT_NPROC) if os.geteuid() else float("inf"),
        pid_max=_cgroup.number("/proc/sys/kernel/pid_max"),
        cgroup_pids=_cgroup.left(
            "pids", ("pids.max", "pids.max"), ("pids.current", "pids.current")
        ),
        cgroup_memory=_cgroup.memory_left(),
        container=_container(),
    )


def _lines(path: str) -> int | None:
    try:
        with open(path, encoding="utf-8") as file:
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


def _container() -> str:
    if os.path.exists("/.dockerenv"):
        return "docker"
    if os.path.exists("/run/.containerenv"):
        return "podman"
    return "kubernetes" if "KUBERNETES_SERVICE_HOST" in os.environ else ""

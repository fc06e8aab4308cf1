"""A process that has reached a limit of the kernel for a moment, on each way of a server.

The limit is a real one (prlimit(2)), of one role, and is lifted while the way is gone; what the
starved process forks has it too. Each case is judged as a failure of one call is (lane.py).
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from inject.living import TASK_WORKERS, WORKERS, Living
from inject.page import MANAGER, ROLES, TASK_WORKER, WORKER

SECONDS = 0.7
"""So long the limit holds."""

_ROOM = 256 * 1024
"""Of address space, beside what the process has."""

LIMITS = {
    "descriptors": resource.RLIMIT_NOFILE,
    "file size": resource.RLIMIT_FSIZE,
    "memory": resource.RLIMIT_AS,
}


class Starved(NamedTuple):
    way: str
    role: int
    limit: str

    def __str__(self) -> str:
        return f"{self.way}: {self.limit} of the {ROLES[self.role]}"


KNOWN = {
    "worker_death: descriptors of the manager": "connections that come meanwhile have no copy in "
    "the manager, which the log says; they end with their worker",
}
"""Cases that fall short of a promise (here S13): they are left out, and printed."""

CASES = {role: sorted(LIMITS) for role in (MANAGER, WORKER, TASK_WORKER)}


@contextlib.contextmanager
def starved(living: Living, case: Starved) -> Iterator[None]:
    """Inside it the limit is reached, for SECONDS at most; behind it it is lifted."""
    number = LIMITS[case.limit]
    pids = _processes(living, case.role)
    before = resource.prlimit(pids[0], number)
    for pid in pids:
        least = _LEAST[case.limit](pid)
        resource.prlimit(pid, number, (least, before[1]))
    lifter = os.fork()
    if lifter == 0:
        select.select([], [], [], SECONDS)
        _lift(living.pid, number, before)
        os._exit(0)
    try:
        yield
    finally:
        os.waitpid(lifter, 0)
        _lift(living.pid, number, before)


def _processes(living: Living, role: int) -> list[int]:
    if role == MANAGER:
        return [living.pid]
    first = 0 if role == WORKER else WORKERS
    last = WORKERS if role == WORKER else WORKERS + TASK_WORKERS
    return [living.process_of(number) for number in range(first, last)]


def _lift(manager: int, number: int, before: tuple[int, int]) -> None:
    """The manager first: what it forks from then on has no limit."""
    for who in (None, manager):
        try:
            text = Path(f"/proc/{manager}/task/{manager}/children").read_text() if who else ""
            for pid in [int(one) for one in text.split()] if who else [manager]:
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(pid, number, before)
        except (FileNotFoundError, ProcessLookupError):
            return


def _descriptors(pid: int) -> int:
    """Return the lowest number that is free. (Less than it polls, and poll(2) itself fails.)"""
    used = {int(one) for one in os.listdir(f"/proc/{pid}/fd")}
    return min(set(range(len(used) + 1)) - used)


def _address_space(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize() + _ROOM


_LEAST = {"descriptors": _descriptors, "file size": lambda _pid: 0, "memory": _address_space}

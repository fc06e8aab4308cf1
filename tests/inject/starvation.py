"""Limits of the kernel, and of the server, that are reached for a moment, on each way of a server.

    python -m inject.starvation DIRECTORY CONFIGURATION     takes cases from stdin, prints faults

A limit is a real one: of the processes of one role (prlimit(2)), or of the whole server (a cgroup's
number of processes, a tmpfs without room, the server's own task_memory). It is lifted while the way
is gone; at a start it stays until that serves or has refused. Each case is judged as a failure of
one call is (lane.py); one that cost something is named in the log or in the refusal.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from inject.configurations import START, STOP, USER_DEATH
from inject.lane import TROUBLE, Lane, alone
from inject.library.page import MANAGER, ROLES, TASK_WORKER, USER_PROCESS, WORKER
from inject.living import TASK_WORKERS, USER_SLOT, WORKERS, Living
from inject.surroundings.patience import Hang
from inject.surroundings.room import Cgroup, Tmpfs, pids_controller
from inject.ways import WAYS, Asked

SECONDS = 0.7
"""So long the limit holds."""

_ROOM = 256 * 1024
"""Of address space, beside what the process has."""

SERVER = -1
"""In place of a role: all of its processes."""

PROCESS_LIMITS = {
    "descriptors": resource.RLIMIT_NOFILE,
    "file size": resource.RLIMIT_FSIZE,
    "memory": resource.RLIMIT_AS,
}
SERVER_LIMITS = ("processes", "shared memory", "disk", "task memory")

_ERRNOS = {
    "descriptors": (errno.EMFILE,),
    "memory": (errno.ENOMEM,),
    "processes": (errno.EAGAIN,),
    "shared memory": (errno.ENOSPC,),
    "disk": (errno.ENOSPC,),
}
_NAMES = {"task memory": "task_memory"}
"""What the log calls a limit. A process that may write no file has no log: "file size" is not here."""

_SQLITE = "SQLITE_"
"""SQLite names its step, and keeps the errno for itself."""

_AT_START = {
    "descriptors": (0, 8, 32, 128),
    "file size": (0,),
    "memory": (1 << 18, 1 << 22, 1 << 25),
    "processes": (0, 1, 2, 3),
    "shared memory": (0,),
    "disk": (0,),
}
"""What is there at a start beside what is in use."""


class Starved(NamedTuple):
    way: str
    role: int
    limit: str
    more: int = 0
    """What is left, at a start."""

    def __str__(self) -> str:
        whose = "server" if self.role == SERVER else ROLES[self.role]
        left = f", {self.more} left" if self.more else ""
        return f"{self.way}: {self.limit} of the {whose}{left}"


KNOWN = {
    "worker_death: descriptors of the manager": "connections that come meanwhile have no copy in "
    "the manager, which the log says; they end with their worker",
}
"""Cases that fall short of a promise (here S13): they are left out, and printed."""


def cases(ways: Iterable[str]) -> list[Starved]:
    """Return all of a configuration with these ways, except for those that are known."""
    found = []
    for way in ways:
        if way == START:
            found += [
                Starved(way, SERVER, limit, more)
                for limit, lefts in _AT_START.items()
                for more in lefts
            ]
            continue
        roles = (MANAGER, WORKER, TASK_WORKER, *[USER_PROCESS] * (way == USER_DEATH))
        found += [Starved(way, role, limit) for role in roles for limit in PROCESS_LIMITS]
        found += [Starved(way, SERVER, limit) for limit in SERVER_LIMITS]
    return [case for case in found if str(case) not in KNOWN]


class StarvingLane(Lane):
    """A lane whose server has a disk, a /dev/shm and a cgroup of its own."""

    def __init__(self, directory: Path, configuration: str) -> None:
        self._disk = Tmpfs(directory / "disk")
        super().__init__(directory, configuration, directory / "disk")
        self.place.settings["task_memory"] = 2 << 20  # full before task_queue_size is
        self._shared = Tmpfs(Path("/dev/shm"))
        self._cgroup = Cgroup() if pids_controller() is not None else None
        self._hold = directory / "hold"
        self.place.in_child = self._in_child
        self._at_start: Starved | None = None
        self._before = {limit: resource.getrlimit(n) for limit, n in PROCESS_LIMITS.items()}

    def close(self) -> None:
        """When nothing of it runs."""
        if self._cgroup is not None:
            self._cgroup.remove()

    def can(self, case: Starved) -> bool:
        """Whether this machine lets it have that limit. (Of another user's: CAP_SYS_RESOURCE.)"""
        if case.limit == "processes":
            return self._cgroup is not None
        return "user" not in self.place.settings or case.role in (SERVER, MANAGER)

    # -- cases ---

    def starve(self, case: Starved) -> list[str]:
        """Return what is wrong."""
        if case.way == START:
            return self._start(case)
        return self._stop(case) if case.way == STOP else self._go_starved(case)

    def _go_starved(self, case: Starved) -> list[str]:
        living, faults = self.fitting(case.way)
        mark = living.mark()
        asked = Asked(living, self.token)
        asked.may_give_up = True
        with self._starved(living, case):
            try:
                WAYS[case.way](asked)
            except TROUBLE as exc:
                faults.append(repr(exc))
            finally:
                asked.close()
        if not faults:
            faults += self.judge(case.role, living, asked)
        if not living.alive:
            faults.append(f"the server ended: {living.outcome}")
        log = living.text(mark)
        if not faults and asked.closed + asked.refused:
            faults += _unnamed(case, log + " ".join(asked.closed + asked.refused))
        if faults:
            faults.append(log[-1500:])
            self.scrap()
        return faults

    def _start(self, case: Starved) -> list[str]:
        faults = self.stop()
        self._at_start = case
        self._fill(case)
        living = Living(self.place)
        try:
            serves = living.ready()
        except Hang as exc:
            faults.append(str(exc))
            serves = False
        finally:
            self._at_start = None
            self._free(case, living)
        if serves:
            try:
                living.settle()
                self.serves(living)
            except TROUBLE as exc:
                faults.append(f"afterwards: {exc!r}")
            faults += self.stopped(living)
        elif not faults:
            outcome = living.outcome or ""
            if not outcome.startswith("refused"):
                faults.append(f"start() ended: {outcome}")
            faults += living.left()
        if faults:
            faults.append(living.text()[-1500:])
            living.scrap()
        return faults

    def _stop(self, case: Starved) -> list[str]:
        faults = self.stop()
        living = Living(self.place)
        if not living.ready():
            return [f"no start without a limit: {living.outcome}"]
        living.settle()
        self.work_for_the_end(living)
        with self._starved(living, case), contextlib.suppress(Hang):
            living.end()
        faults += self.stopped(living)
        if faults:
            faults.append(living.text()[-1500:])
            living.scrap()
        if self.place.owed:  # tasks wait in the ledger, and the next server runs them
            self.living()
        return faults

    # -- limits ---

    @contextlib.contextmanager
    def _starved(self, living: Living, case: Starved) -> Iterator[None]:
        """Inside it the limit is reached, for SECONDS at most; behind it it is lifted."""
        before = self._reach(living, case)

        def lift() -> None:
            if case.role == SERVER:
                self._free(case, living)
            else:
                _lift(living.pid, PROCESS_LIMITS[case.limit], before)

        lifter = os.fork()
        if lifter == 0:
            select.select([], [], [], SECONDS)
            lift()
            os._exit(0)
        try:
            yield
        finally:
            os.waitpid(lifter, 0)
            lift()

    def _reach(self, living: Living, case: Starved) -> tuple[int, int]:
        """Return the limit that there was, of a process."""
        if case.role == SERVER:
            self._fill(case)
            if case.limit == "task memory":
                self._fill_tasks(living)
            return 0, 0
        slots = _slots(case.role)
        pids = living.processes_of(*slots) if slots else [living.pid]
        before = resource.prlimit(pids[0], PROCESS_LIMITS[case.limit])
        for pid in pids:
            resource.prlimit(
                pid, PROCESS_LIMITS[case.limit], (_LEAST[case.limit](pid, 0), before[1])
            )
        return before

    def _fill(self, case: Starved) -> None:
        match case.limit:
            case "processes":
                assert self._cgroup is not None
                self._cgroup.fill(case.more + (case.way == START))  # the manager enters it
            case "shared memory":
                self._shared.fill()
            case "disk":
                self._disk.fill()

    def _free(self, case: Starved, living: Living) -> None:
        match case.limit:
            case "processes":
                assert self._cgroup is not None
                self._cgroup.free()
            case "shared memory":
                self._shared.free()
            case "disk":
                self._disk.free()
            case "task memory":
                self._hold.unlink(missing_ok=True)
            case limit:
                _lift(living.pid, PROCESS_LIMITS[limit], self._before[limit])

    def _fill_tasks(self, living: Living) -> None:
        """Post tasks that last, until there is no room for one more."""
        self._hold.touch()
        asked = Asked(living, self.token)
        line = asked.line()
        for _ in range(1000):
            asked.call(line, "task", "held", wanted=("later",))
            if asked.refused or asked.closed:
                break
        asked.close()
        if not any("task_memory" in text for text in asked.refused):
            raise AssertionError(f"task_memory is not full: {asked.refused + asked.closed}")

    def _in_child(self) -> None:
        if self._cgroup is not None:
            self._cgroup.enter()
        case = self._at_start
        if case is not None and case.limit in PROCESS_LIMITS:
            number = PROCESS_LIMITS[case.limit]
            least = _LEAST[case.limit](os.getpid(), case.more)
            raised = case.limit == "descriptors" and os.geteuid() == 0  # by the server itself
            hard = least if raised else resource.getrlimit(number)[1]
            resource.setrlimit(number, (least, hard))


def _unnamed(case: Starved, log: str) -> list[str]:
    if case.limit == "file size":
        return []
    names = [os.strerror(number) for number in _ERRNOS.get(case.limit, ())]
    names += [_NAMES.get(case.limit, _SQLITE)]
    if case.limit == "memory":  # a library without memory may end its process: msgspec 0.23
        names += ["MemoryError", "died: signal"]
    return [] if any(name in log for name in names) else [f"the log names none of {names}"]


def _slots(role: int) -> list[int]:
    return {
        WORKER: [*range(WORKERS)],
        TASK_WORKER: [*range(WORKERS, WORKERS + TASK_WORKERS)],
        USER_PROCESS: [USER_SLOT],
    }.get(role, [])


def _lift(manager: int, number: int, before: tuple[int, int]) -> None:
    """The manager first: what it forks from then on has no limit."""
    for who in (None, manager):
        try:
            text = Path(f"/proc/{manager}/task/{manager}/children").read_text() if who else ""
            for pid in [int(one) for one in text.split()] if who else [manager]:
                with contextlib.suppress(ProcessLookupError, PermissionError):  # reaped just now
                    resource.prlimit(pid, number, before)
        except (FileNotFoundError, ProcessLookupError):
            return


def _descriptors(pid: int, more: int) -> int:
    """Return the lowest number that is free. (Less than it polls, and poll(2) itself fails.)"""
    used = {int(one) for one in os.listdir(f"/proc/{pid}/fd")}
    return min(set(range(len(used) + 1)) - used) + more


def _address_space(pid: int, more: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize() + (more or _ROOM)


_LEAST: dict[str, Callable[[int, int], int]] = {
    "descriptors": _descriptors,
    "file size": lambda _pid, _more: 0,
    "memory": _address_space,
}


def main() -> None:
    directory, configuration = Path(sys.argv[1]), sys.argv[2]
    alone()
    lane = StarvingLane(directory, configuration)
    try:
        for case in (Starved(*one) for one in json.load(sys.stdin)):
            found = lane.starve(case) if lane.can(case) else None
            print(json.dumps([str(case), found]), flush=True)
        print(json.dumps(["the end", lane.end()]))
    finally:
        lane.scrap()
        lane.close()


if __name__ == "__main__":
    main()

"""One lane of failures: a process with the library preloaded, which runs case after case.

    python -m inject.lane DIRECTORY CONFIGURATION record     prints what calls each way makes
    python -m inject.lane DIRECTORY CONFIGURATION run        takes cases from stdin, prints the results

A case arms one failure, goes one way, and is judged by itself:
  J1  the server lives, or start() raised one of our errors;
  J2  each task that was promised is over, or lies in the ledger or the dead letters at the end;
  J3  each client got the answer to its own question, or a refusal; its connection ended only when
      the failed call was its worker's;
  J4  no `close` fired twice; nothing took ten seconds; no descriptor is left open;
  J5  a failure that cost something (a refusal, a connection, the start), or that the log tells of,
      is named: a line of the log, or the refusal, has the call or what it was made for (named.py)
      and its errno, except for those that mean "again" or "the peer has gone";
  J6  EINTR ends no process: the call is made again;
  J7  with the failure over, all processes are there, and serve; at the end nothing is left.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

from leaks import own_namespaces

from inject.cases import Case, Recording
from inject.client import Closed, Wrong
from inject.configurations import CONFIGURATIONS, START, STOP, USER_DEATH
from inject.errnos import QUIET
from inject.library.page import WORKER, Page
from inject.living import WORKERS, Living, Place
from inject.named import is_named, is_told
from inject.surroundings.network import own_network
from inject.surroundings.patience import Hang
from inject.ways import WAYS, Asked

_TWICE = 2
"""So often each way is recorded: the counts of two turns differ by a poll or two, and more where
the manager looks at its dead letters in one of them.
"""


MISSES = 3
"""Behind so many calls in a row that are not met there is none: the last one was before them."""


_USER_DEATHS = 2
"""So often a server's user process dies: the pause before the next is half a second then."""


_IDLE = 0.1
"""So long the descriptors of an idle server stay as they are."""


TROUBLE = (Hang, Wrong, Closed, OSError, IndexError)
"""What the driver meets when the server misbehaves; the last two: a process is gone."""


class Result(NamedTuple):
    case: Case
    failed: bool
    """Whether the call was made, so that it could fail."""
    faults: list[str]
    log: str
    seconds: float
    cost: Sequence[str] = ()
    """Refusals, and connections that ended."""


class Lane:
    def __init__(self, directory: Path, configuration: str, disk: Path | None = None) -> None:
        """`disk`: where the server's files are, if not in the directory."""
        disk = disk or directory
        chosen = CONFIGURATIONS[configuration]
        settings = dict(chosen.settings)
        if settings["task_ipc_mode"] != 1:
            settings["message_queue_key"] = 0x49500000 | os.getpid() & 0xFFFFF
        if "log_file" in settings:
            settings["log_file"] = str(disk / settings["log_file"])
        if "task_ledger" in settings:
            settings["task_ledger"] += f"-{os.getpid()}"
        (directory / "sent").write_bytes(b"y" * 100_000 + b"\n")
        path = str(directory / "both.pem") if chosen.tls else None
        self.place = Place(directory, disk, settings, path, Page(), chosen.users, chosen.program)
        self.begins_and_ends = START in chosen.ways
        self.ways = [WAYS[name] for name in chosen.ways if name in WAYS]
        self._tokens = count(1)
        self._living: Living | None = None
        self._fresh: Living | None = None  # of a case of the start, for one of the stop
        self._ways: list[Callable[[Asked], None]] = []  # that it has gone to begin with
        self._descriptors: dict[int, int] = {}

    def token(self) -> int:
        return next(self._tokens)

    # -- a server that lives ---

    def living(self, way: str = "") -> Living:
        """Return the server that serves, a new one if need be.

        One whose user process dies is for that way alone: each death makes the pause longer.
        """
        if way == USER_DEATH:
            ways = [one for one in self.ways if one.__name__ == USER_DEATH]
        else:
            ways = [one for one in self.ways if one.__name__ != USER_DEATH]
        if self._living is None:
            self._ways = ways
            self._living = living = Living(self.place)
            if not living.ready():
                raise AssertionError(f"no start without a failure: {living.outcome}")
            living.settle()
            self._when_idle(living)
            living.floor = living.copies()
            for one in ways:  # what is opened once is open then
                self._go(one, living)
                living.settle()
            self.serves(living)
            self._descriptors = self._when_idle(living)
        return self._living

    def fitting(self, way: str) -> tuple[Living, list[str]]:
        """Return the server for a case of that way, and what was wrong with the one before it."""
        there, faults = self._living, []
        alone = there is not None and self._ways == [WAYS[USER_DEATH]]
        worn = there is not None and there.user_deaths > _USER_DEATHS
        if self._fresh is not None or (
            there is not None and (worn or alone != (way == USER_DEATH))
        ):
            faults = self.stop()
        return self.living(way), faults

    def _go(self, way: Callable[[Asked], None], living: Living) -> Asked:
        asked = Asked(living, self.token)
        try:
            way(asked)
        finally:
            asked.close()
        return asked

    def stop(self) -> list[str]:
        """End the server that serves; return what is wrong with that."""
        there = [one for one in (self._living, self._fresh) if one is not None]
        self._living = self._fresh = None
        return [fault for one in there for fault in self.stopped(one)]

    def end(self) -> list[str]:
        """As stop(), and the last one: J2, tasks that wait in the ledger are run by the next."""
        faults = self.stop()
        if self.place.owed:
            self.living()
            faults += self.stop()
        return faults

    def stopped(self, living: Living) -> list[str]:
        try:
            living.end()
        except Hang as exc:
            living.scrap()
            return [str(exc)]
        faults = [] if living.outcome == "returned" else [f"start() ended: {living.outcome}"]
        return faults + living.left()

    def scrap(self) -> None:
        """After a fault the next case begins with another server."""
        for one in (self._living, self._fresh):
            if one is not None:
                one.scrap()
        self._living = self._fresh = None

    # -- what calls there are ---

    def record(self) -> tuple[Recording, Recording]:
        """Return how often each call is made on each way, in two turns: at most, at least."""
        turns: dict[str, list[dict[tuple, int]]] = defaultdict(list)

        def during(way: str, work: Callable[[], object]) -> None:
            before = self.place.page.counts()
            work()
            after = self.place.page.counts()
            turns[way].append({key: times - before.get(key, 0) for key, times in after.items()})

        for _ in range(_TWICE if self.begins_and_ends else 0):
            self._begin_and_end(lambda work: during(START, work), lambda w: during(STOP, w))
        living = self.living()
        for way in self.ways:
            for _ in range(_TWICE):

                def turn(way=way):
                    self._go(way, living)
                    living.settle()

                during(way.__name__, turn)
        faults = self.stop()
        if faults:
            raise AssertionError(f"without a failure: {faults}")
        return _of_all(turns, max), _of_all(turns, min)

    def _begin_and_end(self, during_start, during_stop) -> None:
        living: list[Living] = []

        def start() -> None:
            living.append(Living(self.place))
            assert living[0].ready(), living[0].outcome
            living[0].settle()

        during_start(start)
        self.work_for_the_end(living[0])
        during_stop(living[0].end)
        living[0].left()

    # -- cases ---

    def run(self, cases: list[Case]) -> Iterator[Result]:
        """Run them in their order; those of one stratum behind the last call of it are not run."""
        missed: Counter[tuple] = Counter()  # of each stratum, in a row
        for case in cases:
            before = time.monotonic()
            if missed[case.stratum] >= MISSES:
                yield Result(case, False, [], "", 0)
                continue
            run = {START: self._start_case, STOP: self._stop_case}.get(case.way, self._way_case)
            self._cost: list[str] = []
            failed, faults, log = run(case)
            missed[case.stratum] = 0 if failed else missed[case.stratum] + 1
            yield Result(case, failed, faults, log, time.monotonic() - before, self._cost)
        faults = self.end()
        if faults:
            yield Result(Case(STOP, 0, "", "", 0, 0), True, faults, "", 0)

    def _arm(self, case: Case) -> None:
        self.place.page.arm(case.role, case.call, case.kind, case.error, case.nth)

    def _way_case(self, case: Case) -> tuple[bool, list[str], str]:
        living, faults = self.fitting(case.way)
        mark = living.mark()
        way = WAYS[case.way]
        asked = Asked(living, self.token)
        self._arm(case)
        try:
            way(asked)
        except (Hang, Wrong) as exc:
            faults.append(str(exc))
        except (OSError, IndexError) as exc:  # of a server that is gone
            faults.append(repr(exc))
        finally:
            asked.close()
        failed = self.place.page.disarm()
        if not faults:
            faults += self.judge(case.role, living, asked)
        log = living.text(mark)
        self._cost = asked.closed + asked.refused
        if failed and not faults:
            faults += unnamed(case, [log, *self._cost], self._cost)
            faults += ended_by_interrupt(case, log)
        if not living.alive:
            faults.append(f"the server ended: {living.outcome}")
        if faults:
            self.scrap()
        return failed, faults, log

    def judge(self, role: int, living: Living, asked: Asked) -> list[str]:
        """Return what is wrong now that the failure, of a process of that role, is over."""
        faults = list(asked.raised)
        if asked.closed and role != WORKER:
            faults.append(f"a client was cut off: {asked.closed[0]}")
        try:
            living.settle()
            if living.alive:
                self.serves(living)
        except TROUBLE as exc:
            faults.append(f"afterwards: {exc!r}")
        doubled = [session for session, times in living.sessions.items() if times > 1]
        if doubled:
            faults.append(f"close fired twice for {doubled}")
        if living.alive and not faults:
            try:
                living.wait(lambda: not self._more_descriptors(living), "descriptors", 3)
            except Hang:
                faults.append(f"more descriptors than before: {self._more_descriptors(living)}")
        return faults

    def _more_descriptors(self, living: Living) -> dict[int, int]:
        now = living.all_descriptors()
        more = {one: now[one] - self._descriptors[one] for one in now}
        # libuv opens /dev/null once, when a worker has its first connection.
        return {one: count for one, count in more.items() if count > (one in range(WORKERS))}

    @staticmethod
    def _when_idle(living: Living) -> dict[int, int]:
        """Return the descriptors of each process, when nothing has changed for a while."""
        seen = [living.all_descriptors()]
        since = time.monotonic()

        def stays() -> bool:
            nonlocal since
            now = living.all_descriptors()
            if now != seen[-1]:
                seen.append(now)
                since = time.monotonic()
            return time.monotonic() - since > _IDLE

        living.wait(stays, "descriptors stay")
        return seen[-1]

    def serves(self, living: Living) -> None:
        """A task is run, and every worker waits for clients at every port."""
        asked = Asked(living, self.token)
        try:
            asked.call(asked.line(), "task", "small", wanted=("done", 0))
        finally:
            asked.close()
        if asked.closed or asked.refused or asked.raised:
            raise Hang(f"a client is not served: {asked.closed + asked.refused + asked.raised}")
        living.wait(
            lambda: len(living.listening()) == len(living.ports) and not living.deaf(),
            "every worker waits for clients at every port",
            5,
        )

    def _start_case(self, case: Case) -> tuple[bool, list[str], str]:
        faults = self.stop()
        self._arm(case)
        living = Living(self.place)
        try:
            serves = living.ready()
            if serves:
                living.settle()
        except Hang as exc:
            faults.append(str(exc))
            serves = False
        failed = self.place.page.disarm()
        outcome = living.outcome or ""
        if serves:
            try:
                self.serves(living)
            except TROUBLE as exc:
                faults.append(f"afterwards: {exc!r}")
        log = living.text()
        self._cost = [] if serves else [outcome]
        if failed and not faults:
            faults += unnamed(case, [log, *self._cost], self._cost)
            faults += ended_by_interrupt(case, log)
        if not living.alive and not faults:
            if not outcome.startswith("refused"):
                faults.append(f"start() ended: {outcome}")
            faults += living.left()
        if faults:
            living.scrap()
        elif living.alive:
            self._fresh = living
        return failed, faults, log

    def work_for_the_end(self, living: Living) -> None:
        """A task in hand, some that wait, and clients that stay."""
        asked = Asked(living, self.token)
        lines = [asked.line() for _ in range(3)]
        for kind in ("slow", "small", "large", "small"):
            asked.ask(lines[0], "task", kind)
        asked.call(lines[1], "task", "late", wanted=("later",))
        asked.call(lines[2], "echo", wanted=("echo",))

    def _stop_case(self, case: Case) -> tuple[bool, list[str], str]:
        living, self._fresh = self._fresh, None
        faults = self.stop()
        if living is None:
            living = Living(self.place)
            if not living.ready():
                return False, [f"no start without a failure: {living.outcome}"], living.text()
            living.settle()
        mark = living.mark()
        self.work_for_the_end(living)
        self._arm(case)
        faults += self.stopped(living)
        failed = self.place.page.disarm()
        log = living.text(mark)
        if failed and not faults:
            faults += unnamed(case, [log]) + ended_by_interrupt(case, log)
        if faults:
            living.scrap()
        return failed, faults, log


def _of_all(
    turns: dict[str, list[dict[tuple, int]]], one: Callable[[Iterable[int]], int]
) -> Recording:
    found = {
        (way, *key): one(counts.get(key, 0) for counts in every)
        for way, every in turns.items()
        for key in set().union(*every)
    }
    return {key: times for key, times in found.items() if times}


def ended_by_interrupt(case: Case, log: str) -> list[str]:
    """J6. (A module that cannot be read is Python's to read again: `ipckit run`.)"""
    if case.error != errno.EINTR or "cannot be loaded" in log:
        return []
    ends = re.findall(r"\(process \d+\) died: exit code \d+", log)
    return [f"EINTR ended it: {end}" for end in ends]


def unnamed(case: Case, texts: list[str], cost: Sequence[str] = ()) -> list[str]:
    """J5."""
    name = errno.errorcode[case.error]
    if name in QUIET or case.kind == "log" or is_named(case, texts):
        return []
    if not cost and not is_told(case, texts):
        return []
    return [f"the log does not name {case.call} and {name}"]


def alone() -> None:
    """What a process of lanes is before it has one: no other program's object is in sight."""
    own_namespaces()
    own_network()
    gc.freeze()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def main() -> None:
    directory, configuration, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    alone()
    lane = Lane(directory, configuration)
    if what == "record":
        print(json.dumps([[[*key, times] for key, times in one.items()] for one in lane.record()]))
        return
    cases = [Case(*one) for one in json.load(sys.stdin)]
    for result in lane.run(cases):
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

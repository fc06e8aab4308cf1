"""One lane of failures: a process with the library preloaded, which runs case after case.

    python -m inject.lane DIRECTORY CONFIGURATION record     prints what calls each way makes
    python -m inject.lane DIRECTORY CONFIGURATION starve     reaches limits on each way
    python -m inject.lane DIRECTORY CONFIGURATION run        takes cases from stdin, prints the results

A case arms one failure, goes one way, and is judged by itself:
  J1  the server lives, or start() raised one of our errors;
  J2  each task that was promised is over, or lies in the ledger or the dead letters at the end;
  J3  each client got the answer to its own question, or a refusal; its connection ended only when
      the failed call was its worker's;
  J4  no `close` fired twice; nothing took ten seconds; no descriptor is left open;
  J5  a failure that cost something (a refusal, a connection, the start) is named: the log, or the
      error, has its errno, except for those that mean "again" or "the peer has gone";
  J6  with the failure over, all processes are there, and serve; at the end nothing is left.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

from inject.cases import Case, Recording
from inject.client import Closed, Hang, Wrong
from inject.errnos import QUIET
from inject.living import WORKERS, Living, Place
from inject.page import WORKER, Page
from inject.starvation import CASES, KNOWN, Starved, starved
from inject.ways import WAYS, Asked

CONFIGURATIONS = {
    "mode 1": {"task_ipc_mode": 1},
    "mode 2": {"task_ipc_mode": 2},
    "mode 3": {"task_ipc_mode": 3},
    "ledger": {"task_ipc_mode": 1},
}
_TWICE = 2
"""So often each way is recorded: the counts of two turns differ by a poll or two."""


_IDLE = 0.1
"""So long the descriptors of an idle server stay as they are."""


_TROUBLE = (Hang, Wrong, Closed, OSError, IndexError)
"""What the driver meets when the server misbehaves; the last two: a process is gone."""


class Result(NamedTuple):
    case: Case
    failed: bool
    """Whether the call was made, so that it could fail."""
    faults: list[str]
    log: str
    seconds: float


class Lane:
    def __init__(self, directory: Path, configuration: str) -> None:
        settings = dict(CONFIGURATIONS[configuration])
        self.configuration = configuration
        if settings["task_ipc_mode"] != 1:
            settings["message_queue_key"] = 0x49500000 | os.getpid() & 0xFFFFF
        if configuration == "ledger":
            settings["task_ledger"] = f"inject-{os.getpid()}"
            settings["log_file"] = str(directory / "log_file")
        (directory / "sent").write_bytes(b"y" * 100_000 + b"\n")
        certificate = directory / "both.pem"
        path = str(certificate) if certificate.exists() else None
        self.place = Place(directory, settings, path, Page())
        self.ways = [
            way
            for name, way in WAYS.items()
            if not (name == "foreign" and settings["task_ipc_mode"] == 1)
        ]
        self._tokens = count(1)
        self._living: Living | None = None
        self._descriptors: dict[int, int] = {}

    def token(self) -> int:
        return next(self._tokens)

    # -- a server that lives ---

    def living(self) -> Living:
        """Return the server that serves, a new one if need be."""
        if self._living is None:
            self._living = living = Living(self.place)
            if not living.ready():
                raise AssertionError(f"no start without a failure: {living.outcome}")
            living.settle()
            self._when_idle(living)
            living.floor = living.copies()
            for way in self.ways:  # what is opened once is open then
                self._go(way, living)
                living.settle()
            self._descriptors = self._when_idle(living)
        return self._living

    def _go(self, way: Callable[[Asked], None], living: Living) -> Asked:
        asked = Asked(living, self.token)
        try:
            way(asked)
        finally:
            asked.close()
        return asked

    def stop(self) -> list[str]:
        """End the server that serves; return what is wrong with that."""
        living, self._living = self._living, None
        return [] if living is None else self._stopped(living)

    def _stopped(self, living: Living) -> list[str]:
        try:
            living.end()
        except Hang as exc:
            living.scrap()
            return [str(exc)]
        faults = [] if living.outcome == "returned" else [f"start() ended: {living.outcome}"]
        return faults + living.left()

    def _scrap(self) -> None:
        """After a fault the next case begins with another server."""
        if self._living is not None:
            self._living.scrap()
            self._living = None

    # -- what calls there are ---

    def record(self) -> Recording:
        found: Recording = {}

        def during(way: str, work: Callable[[], object]) -> None:
            before = self.place.page.counts()
            work()
            for key, times in self.place.page.counts().items():
                more = times - before.get(key, 0)
                if more:
                    found[way, *key] = max(found.get((way, *key), 0), more)

        for _ in range(_TWICE):
            self._begin_and_end(lambda work: during("start", work), lambda w: during("stop", w))
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
        return found

    def _begin_and_end(self, during_start, during_stop) -> None:
        living: list[Living] = []

        def start() -> None:
            living.append(Living(self.place))
            assert living[0].ready(), living[0].outcome
            living[0].settle()

        during_start(start)
        self._work_for_the_end(living[0])
        during_stop(living[0].end)
        living[0].left()

    # -- cases ---

    def run(self, cases: list[Case]) -> Iterator[Result]:
        for case in cases:
            before = time.monotonic()
            run = {"start": self._start_case, "stop": self._stop_case}.get(case.way, self._way_case)
            failed, faults, log = run(case)
            yield Result(case, failed, faults, log, time.monotonic() - before)
        faults = self.stop()
        if self.place.owed:  # J2: tasks wait in the ledger, and the next server runs them
            self.living()
            faults += self.stop()
        if faults:
            yield Result(Case("stop", 0, "", "", 0, 0), True, faults, "", 0)

    def _arm(self, case: Case) -> None:
        self.place.page.arm(case.role, case.call, case.kind, case.error, case.nth)

    def _way_case(self, case: Case) -> tuple[bool, list[str], str]:
        living = self.living()
        log_before = len(living.text())
        (way,) = (way for way in self.ways if way.__name__ == case.way)
        asked = Asked(living, self.token)
        faults: list[str] = []
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
            faults += self._judge(case, living, asked)
        log = living.text()[log_before:]
        cost = asked.closed + asked.refused
        if failed and not faults and cost:
            faults += unnamed(case, log + " ".join(cost))
        if not living.alive:
            faults.append(f"the server ended: {living.outcome}")
        if faults:
            self._scrap()
        return failed, faults, log

    def starve(self, case: Starved) -> list[str]:
        """Go a way while a role has reached a limit; return what is wrong."""
        living = self.living()
        (way,) = (way for way in self.ways if way.__name__ == case.way)
        asked = Asked(living, self.token)
        asked.may_give_up = True
        faults: list[str] = []
        with starved(living, case):
            try:
                way(asked)
            except _TROUBLE as exc:
                faults.append(repr(exc))
            finally:
                asked.close()
        if not faults:
            faults += self._judge(case, living, asked)
        if not living.alive:
            faults.append(f"the server ended: {living.outcome}")
        if faults:
            faults.append(living.text()[-1500:])
            self._scrap()
        return faults

    def _judge(self, case: Case | Starved, living: Living, asked: Asked) -> list[str]:
        faults = list(asked.raised)
        if asked.closed and case.role != WORKER:
            faults.append(f"a client was cut off: {asked.closed[0]}")
        try:
            living.settle()
            if living.alive:
                self._serves(living)
        except _TROUBLE as exc:
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

    def _serves(self, living: Living) -> None:
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
                self._serves(living)
            except _TROUBLE as exc:
                faults.append(f"afterwards: {exc!r}")
        log = living.text()
        if failed and not faults and not serves:
            faults += unnamed(case, log + outcome)
        if not living.alive and not faults:
            if not outcome.startswith("refused"):
                faults.append(f"start() ended: {outcome}")
            faults += living.left()
        else:
            faults += self._stopped(living)
        if faults:
            living.scrap()
        return failed, faults, log

    def _work_for_the_end(self, living: Living) -> None:
        """A task in hand, some that wait, and clients that stay."""
        asked = Asked(living, self.token)
        lines = [asked.line() for _ in range(3)]
        for kind in ("slow", "small", "large", "small"):
            asked.ask(lines[0], "task", kind)
        asked.call(lines[1], "task", "late", wanted=("later",))
        asked.call(lines[2], "echo", wanted=("echo",))

    def _stop_case(self, case: Case) -> tuple[bool, list[str], str]:
        faults = self.stop()
        living = Living(self.place)
        if not living.ready():
            return False, [f"no start without a failure: {living.outcome}"], living.text()
        living.settle()
        self._work_for_the_end(living)
        self._arm(case)
        faults += self._stopped(living)
        failed = self.place.page.disarm()
        log = living.text()
        if faults:
            living.scrap()
        return failed, faults, log


def unnamed(case: Case, log: str) -> list[str]:
    """J5."""
    name = errno.errorcode[case.error]
    if name in QUIET or case.kind == "log":
        return []
    if os.strerror(case.error) in log or name in log or "MemoryError" in log:
        return []
    if "SQLITE_" in log:  # it names its step, and keeps the errno for itself
        return []
    return [f"the log does not name {name}"]


def main() -> None:
    directory, configuration, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    lane = Lane(directory, configuration)
    if what == "record":
        print(json.dumps([[*key, times] for key, times in lane.record().items()]))
        return
    if what == "starve":
        for way in lane.ways:
            for role, limits in CASES.items():
                for limit in limits:
                    case = Starved(way.__name__, role, limit)
                    if str(case) not in KNOWN:
                        print(json.dumps([str(case), lane.starve(case)]), flush=True)
        print(json.dumps(["the end", lane.stop()]))
        return
    cases = [Case(*one) for one in json.load(sys.stdin)]
    for result in lane.run(cases):
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

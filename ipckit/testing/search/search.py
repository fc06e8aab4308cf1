"""Trying a machine: programs drawn, run, judged, shrunk; and what is said of a failure.

Contract  The verdict of a program is kept for the whole search: a program found wrong once is
          wrong, though it may be right nine times of ten, so hypothesis never sees it change its
          mind. What is reported is the history that was seen, which is a proof even if it never
          happens again; it is saved with all that a replay needs.
          The first failure is made smaller by `shrinking.simplify`; what hypothesis shrinks
          besides, arguments above all, has `SHRINKING` times the runs of a search.
          A failure after which nothing works any more is reported as what outlives a run
          (`control.py`), and so is one that a fresh interpreter does not show (`fresh.py`).
          What is tried is counted in runs: only `seconds`, a user's own setting, goes by the clock.
Blocks    for as long as the machine's settings say.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis

from ipckit.testing.engines import ptrace, real, stepped
from ipckit.testing.errors import MachineError
from ipckit.testing.histories.history import History
from ipckit.testing.histories.text import explain, timeline
from ipckit.testing.judging.checker import check
from ipckit.testing.processes.crew import Blocked, Crashed, Crew
from ipckit.testing.processes.shared_log import SharedLog
from ipckit.testing.programs.preemptions import ALL
from ipckit.testing.programs.program import Kill, Program, programs
from ipckit.testing.programs.schedules import Schedule, Scheduler
from ipckit.testing.search import control
from ipckit.testing.search.failure import Failure, load, save
from ipckit.testing.search.fresh import RUNS, fails_in_fresh_interpreter
from ipckit.testing.search.shrinking import simplify
from ipckit.testing.spec import InvariantBroken, Machine

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

ROUND = 500  # programs: hypothesis remembers each it drew, and every fork copies that
SHRINKING = 1.0  # times as many runs as a search of the machine's numbers
HARDER = 3  # times as many runs of a program then
ENOUGH_ASKED = 10  # runs after which a fault should have struck once
ENOUGH_JUDGED = 20  # runs after which calls should have overlapped, of a search that its time ended
COUNTED = 20  # runs of the shrunk program, to say how often it fails
REPLAYS = 200  # runs of a saved failure of an engine that is not deterministic


class PropertyFailed(AssertionError):
    """A machine's object is not what its model says; `failure` has all that was seen."""

    failure: Failure
    __module__ = "ipckit.testing"  # the documented place, which tracebacks show


@dataclass
class Options:
    """What the command line says; it beats the machine's own settings."""

    seconds: float | None = None
    seed: int | None = None
    replay: Path | None = None


options = Options()


def run_machine(machine: type[Machine]) -> None:
    """Try a machine; PropertyFailed with the report, MachineError when the class is at fault."""
    __tracebackhide__ = True  # the report says it all
    machine.examine()
    if options.replay is not None:
        replay(machine, options.replay)
        return
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    search = Search(machine)
    try:
        failure = search.find_failure(seed)
        if failure is None:
            search.demand_something_shown()
            return
        report = search.report(failure, seed, fresh=True)
    finally:
        search.close()
    error = PropertyFailed(report)
    error.failure = failure
    raise error from None


class _Found(Exception):
    """A drawn program failed. Raised in one place only: hypothesis tells bugs apart by line."""


class Search:
    """One search."""

    def __init__(self, machine: type[Machine]) -> None:
        self.machine = machine
        self.scheduler = Scheduler(machine.engine)
        self.log = SharedLog(machine.processes + 1)
        self.verdicts: dict[str, Failure | None] = {}
        self.last: Failure | None = None
        self.smallest: Failure | None = None  # that simplify() came to
        self.shrinks_until: int | None = None  # so many runs were tried; None: nothing has failed
        self.tried = 0  # runs
        self.control = control.Control()
        self.last_struck: Program | None = None  # the last program in which a fault struck
        self.runs = self.overlapped = 0  # of them that were judged
        self.out_of_time = False  # its `seconds` ended the search
        self.asked: Counter[str] = Counter()  # runs with a fault there
        self.struck: Counter[str] = Counter()  # and runs in which it struck

    def close(self) -> None:
        """Let go of the log."""
        self.log.close()

    def find_failure(self, seed: int) -> Failure | None:
        """Draw programs until one fails, and shrink it."""
        machine = self.machine
        seconds = machine.seconds if options.seconds is None else options.seconds
        until = None if seconds is None else time.monotonic() + seconds
        kills = len(machine.faults)
        drawn = programs(
            {name: each.strategies for name, each in machine.ops().items()},
            processes=machine.processes,
            length=machine.operations,
            before=machine.before,
            after=machine.after,
            faults=machine.faults if machine.engine != "ptrace" else [Kill("inside")] * kills,
        )

        def attempt(program: Program) -> None:
            self.last = self._verdict(program, until) or self.last
            if self.verdicts.get(program.key()):
                raise _Found

        left = machine.examples
        with contextlib.suppress(_Found, _Enough):
            while left > 0 or seconds is not None:
                draw_round(drawn, min(left, ROUND) if seconds is None else ROUND, seed, attempt)
                left -= ROUND
                seed += 1
                self.verdicts.clear()
        small = self.smallest
        if small is None or self.last is None:
            return self.last
        return min(
            self.last, small, key=lambda each: (each.kind != small.kind, each.program.weight())
        )

    def _verdict(self, program: Program, until: float | None) -> Failure | None:
        key = program.key()
        if key in self.verdicts:
            return self.verdicts[key]
        runs = self.machine.runs
        if self.shrinks_until is None:
            if until is not None and time.monotonic() > until:
                self.out_of_time = True
                raise _Enough
            self.control.begin(program, self.machine.engine, self.try_once)
        elif self.tried > self.shrinks_until:
            return None  # not tried, and never will be: what is found stays
        else:
            runs *= HARDER
        found = self.try_often(
            program, (self.scheduler.schedule(program, run) for run in range(runs))
        )
        self.verdicts[key] = found
        if found and self.shrinks_until is None:
            struck = self.last_struck
            if broken := self.control.fails(self.try_once):
                self.smallest = self.verdicts[key] = control.told(found, broken, struck)
                self.shrinks_until = -1
                return self.smallest
            self.smallest = simplify(self, found)
            of_a_search = self.machine.examples * self.machine.runs
            self.shrinks_until = self.tried + int(SHRINKING * of_a_search)
        return found

    def try_often(self, program: Program, schedules: Iterable[Schedule]) -> Failure | None:
        """Run a program as each schedule says, until it fails."""
        for schedule in schedules:
            found = self.try_once(program, schedule)
            if found:
                return found
        return None

    def try_once(self, program: Program, schedule: Schedule) -> Failure | None:
        """Run a program as scheduled, and judge what was seen."""
        self.tried += 1
        machine = self.machine()
        machine.setup()
        try:
            with Crew(self.log, machine.deadline) as crew:
                try:
                    history = self._run(machine, program, schedule, crew)
                    self._learn(program, crew, history)
                except Blocked as problem:
                    return Failure(
                        "blocked", str(problem), program, schedule, crew.history(program)
                    )
                except Crashed as problem:
                    return Failure(
                        "crashed", str(problem), program, schedule, crew.history(program)
                    )
                except InvariantBroken as broken:
                    return Failure(
                        "invariant broken", str(broken), program, schedule, broken.history
                    )
        finally:
            machine.teardown()
        verdict = check(history, machine.sequential(), timeout=machine.judge)
        self.runs += 1
        self.overlapped += verdict.overlaps > 0
        for fault in program.faults:
            self.asked[fault.at] += 1
            if any(each.process == fault.process for each in history.events):
                self.struck[fault.at] += 1
                self.last_struck = program
        if verdict.linearizable:
            return None
        kind = "unknown" if verdict.unknown else "not linearizable"
        text = f"the judge was not done within {machine.judge} s" if verdict.unknown else ""
        return Failure(kind, text, program, schedule, history, verdict)

    def _run(self, machine: Machine, program: Program, schedule: Schedule, crew: Crew) -> History:
        if machine.engine == "stepped":
            return stepped.run(machine, program, schedule, crew)
        if machine.engine == "real":
            return real.run(machine, program, schedule, crew)
        history, instructions = ptrace.run(machine, program, schedule, crew)
        if instructions and schedule.victim and schedule.victim[2] >= ALL:
            name = program.branches[schedule.victim[0]][schedule.victim[1]].name
            self.scheduler.instructions[name] = max(
                instructions, self.scheduler.instructions.get(name, 0)
            )
        return history

    def _learn(self, program: Program, crew: Crew, history: History) -> None:
        self.scheduler.learn(
            crew.steps(program),
            {each.name: each.returned - each.called for each in history if not each.cut},
        )

    def demand_something_shown(self) -> None:
        """PropertyFailed: too little of what was run showed anything."""
        for at, runs in self.asked.items():
            if runs >= ENOUGH_ASKED and not self.struck[at]:
                raise PropertyFailed(
                    f"vacuous: {self.machine.__name__}: in {runs} runs a fault was to strike at"
                    f" {at!r}, and never did; is there a kill_point({at!r}) that the operations"
                    " come to?"
                )
        if self.out_of_time and self.runs < ENOUGH_JUDGED:
            return  # so few on a busy machine
        if self.overlapped < self.machine.overlap * self.runs or not self.overlapped:
            raise PropertyFailed(
                f"vacuous: {self.machine.__name__}: in only {self.overlapped} of {self.runs} runs"
                " were two operations of one part under way at once; let more processes share"
                " fewer keys, call a kill_point() inside the operations, or lower `overlap`"
            )

    def report(self, failure: Failure, seed: int, *, fresh: bool = False) -> str:
        """Say all that helps, and save it; `fresh`: also what a fresh interpreter shows."""
        machine, program = self.machine, failure.program
        often = 0
        of = {"blocked": 2, control.KIND: 0}.get(failure.kind, COUNTED)
        for run in range(of):
            again = self.scheduler.schedule(program, run) if run % 2 else failure.schedule
            often += self.try_once(program, again) is not None
        heading = f"{failure.kind}: {machine.__name__}: {program.size()}"
        lines = [heading, "", str(program), ""]
        if failure.text:
            lines += [failure.text, ""]
        if failure.verdict is not None and failure.verdict.counter_example is not None:
            lines += [*explain(failure.verdict).splitlines()[2:], ""]
        else:
            lines += [timeline(failure.history), ""]
        times = f"It failed {often} of {of} runs once shrunk; " if of else ""
        lines.append(f"{times}engine {machine.engine}, seed {seed}.")
        path, where = save(machine, failure, seed, heading, "\n".join(lines))
        likely = 2 * often >= of > 0
        if (
            fresh
            and likely
            and path is not None
            and fails_in_fresh_interpreter(machine, path) is False
        ):
            lines[0] = f"{control.KIND}: {machine.__name__}: {program.size()}, {failure.kind}"
            lines += [
                f"In a fresh interpreter it failed in none of {RUNS} runs. So an earlier run here",
                "left something that setup() does not make again, and the program that is shown is",
                "not all that led to it.",
            ]
        return "\n".join([*lines, *where])


class _Enough(Exception):
    """The time for the search is up."""


def draw_round(
    drawn: SearchStrategy[Program], examples: int, seed: int, attempt: Callable[[Program], None]
) -> None:
    """Let hypothesis draw so many programs, and shrink the first that `attempt` raises for."""
    settings = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=hypothesis.Verbosity.quiet,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    settings(hypothesis.seed(seed)(hypothesis.given(drawn)(attempt)))()


def replay(machine: type[Machine], path: Path) -> None:
    """Run a saved failure again: PropertyFailed if it fails, else it passes.

    `stepped` repeats the interleaving, once. The other engines try the same schedule, and others of
    the program, up to 200 times in all. MachineError: the file is another machine's.
    """
    __tracebackhide__ = True
    form, program, schedule = load(path)
    name = f"{machine.__module__}:{machine.__qualname__}"
    if form["machine"].rpartition(":")[2] != machine.__qualname__:
        raise MachineError(f"{path} is a failure of {form['machine']}, not of {name}")
    search = Search(machine)
    try:
        for run in range(1 if machine.engine == "stepped" else REPLAYS):
            again = schedule if run % 2 == 0 else search.scheduler.schedule(program, run // 2)
            failure = search.try_once(program, again)
            if failure:
                error = PropertyFailed(search.report(failure, form["seed"]))
                error.failure = failure
                raise error
    finally:
        search.close()


__all__ = ["Failure", "PropertyFailed", "options", "replay", "run_machine"]

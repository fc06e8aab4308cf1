"""Making a failure small: what can be left out of its program, found out by runs.

Contract  `simplify` gives a failure of the same kind whose program does the same or less. It tries
          what is smaller (`candidates.py`) in rounds: a program that does not fail in `ROUNDS[0]`
          times the machine's runs is put aside, and what fails begins the rounds again; when all
          were put aside each gets more, in the last round `ROUNDS[-1]` times. So what is left
          fails, and nothing smaller failed in so many runs.
          At most `MOST` times the runs of a search are made. No clock has a part in it: beside
          load it takes longer, and finds the same.
Invariant a failure that depends on pauses is first looked for by a preemption (`preemptions.py`),
          which is the same at each repetition, and can be kept while other calls are left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Protocol

from ipckit.testing.programs.program import Program
from ipckit.testing.programs.schedules import Schedule, Scheduler
from ipckit.testing.search.candidates import essence, smaller, smaller_by_two
from ipckit.testing.search.failure import Failure
from ipckit.testing.spec import Machine

ROUNDS = (3, 12)  # times the runs of the machine
PAIRS = 3  # the same of each program without two calls
FIRM = 10  # the same, to see the failure by a preemption
MOST = 6  # times the runs of a search


class Tries(Protocol):
    """What is needed of a search."""

    machine: type[Machine]
    scheduler: Scheduler
    tried: int

    def try_once(self, program: Program, schedule: Schedule) -> Failure | None:
        """Run a program as scheduled."""


def simplify(search: Tries, failure: Failure) -> Failure:
    """See the head."""
    return _Shrinking(search).simplify(failure)


class _Shrinking:
    """One failure's way to a smaller one."""

    def __init__(self, search: Tries) -> None:
        self.search = search
        self.runs = search.machine.runs
        self.until = search.tried + MOST * search.machine.examples * self.runs
        self.passed: dict[str, int] = {}  # programs, and the runs in which they did not fail

    def simplify(self, failure: Failure) -> Failure:
        failure = self._firm(failure)
        while smaller_one := self._smaller(failure):
            failure = smaller_one
        return failure

    def _firm(self, failure: Failure) -> Failure:
        """Find the failure by a preemption, if it is one that pauses or chance brought about."""
        held = any(
            act.what == "hold"
            for calls in failure.schedule.acts.values()
            for acts in calls.values()
            for act in acts
        )
        if self.search.scheduler.engine != "real" or held:
            return failure
        schedules = self._preempted(failure.program)
        return self._fails(failure, failure.program, schedules, FIRM * self.runs) or failure

    def _smaller(self, failure: Failure) -> Failure | None:
        program = failure.program
        for times in ROUNDS:
            for candidate in (
                *essence(program, failure.history, failure.verdict),
                *smaller(program),
            ):
                if found := self._try(failure, candidate, times * self.runs):
                    return found
        for candidate in smaller_by_two(program):
            if found := self._try(failure, candidate, PAIRS * self.runs):
                return found
        return None

    def _try(self, failure: Failure, candidate: Program, times: int) -> Failure | None:
        key = candidate.key()
        left = times - self.passed.get(key, 0)
        if left <= 0:
            return None
        found = self._fails(failure, candidate, self._schedules(failure, candidate), left)
        self.passed[key] = times
        return found

    def _fails(
        self, failure: Failure, program: Program, schedules: Iterator[Schedule], most: int
    ) -> Failure | None:
        for schedule in itertools.islice(schedules, most):
            if self.search.tried >= self.until:
                return None
            found = self.search.try_once(program, schedule)
            if found is not None and found.kind == failure.kind:
                return found
        return None

    def _schedules(self, failure: Failure, program: Program) -> Iterator[Schedule]:
        """Schedule as it failed, with a preemption, by chance, and again."""
        scheduler = self.search.scheduler
        preempted = self._preempted(program)
        for run in itertools.count(self.passed.get(program.key(), 0)):
            if alike := scheduler.likewise(failure.schedule, failure.program, program, run):
                yield alike
            yield from itertools.islice(preempted, 2)
            yield scheduler.schedule(program, run)

    def _preempted(self, program: Program) -> Iterator[Schedule]:
        for run in itertools.count(self.passed.get(program.key(), 0)):
            schedule = self.search.scheduler.preempted(program, run)
            if schedule is None:
                return
            yield schedule

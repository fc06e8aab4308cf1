"""A program that has nothing to fail for: when it fails, what is judged is not this run's object.

Contract  `Control.begin` keeps a program whose processes make their calls one after the other,
          without faults, if it passes before all other runs; `Control.fails` runs it again, after
          a failure. What passed then and fails now has met something that an earlier run left: a
          lock in a module that a killed process has kept, a file that setup() does not make again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ipckit.testing.programs.acts import Act
from ipckit.testing.programs.preemptions import ALL, Moment, held_at
from ipckit.testing.programs.program import Program
from ipckit.testing.programs.schedules import Schedule
from ipckit.testing.search.failure import Failure

KIND = "something outlives a run"
AGAIN = 2  # runs that must all fail

Try = Callable[[Program, Schedule], Failure | None]


def one_after_the_other(program: Program, engine: str) -> tuple[Program, Schedule]:
    """Give the first two processes of a program without faults, and a schedule without overlap."""
    alone = replace(program, branches=program.branches[:2], faults=())
    if engine == "stepped":
        return alone, Schedule({}, ((0, ALL), (1, ALL)))
    if engine == "ptrace":
        return alone, Schedule({0: {0: (Act("trace", "start"),)}}, victim=(0, 0, ALL))
    return alone, Schedule({1: {0: (held_at(Moment(1, 0, None)),)}})


class Control:
    """See the head."""

    def __init__(self) -> None:
        self.begun = False
        self.passed: tuple[Program, Schedule] | None = None

    def begin(self, program: Program, engine: str, attempt: Try) -> None:
        """Take the first program of a search, once."""
        if not self.begun:
            self.begun = True
            program, schedule = one_after_the_other(program, engine)
            if attempt(program, schedule) is None:
                self.passed = program, schedule

    def fails(self, attempt: Try) -> Failure | None:
        """Run it again; give how it fails now, or None if it does not each time."""
        if self.passed is None:
            return None
        failure = None
        for _ in range(AGAIN):
            failure = attempt(*self.passed)
            if failure is None:
                return None
        return failure


def told(failure: Failure, control: Failure, struck: Program | None) -> Failure:
    """Say of a failure that something outlives a run; `struck` had the last fault before it."""
    lines = [
        f"It was seen as: {failure.kind}" + (f": {failure.text}" if failure.text else "."),
        "",
        "After it a program without faults and without overlap, which passed before all other",
        f"runs, fails as well: {control.kind}. So an earlier run left something that setup() does",
        "not make again, as a lock or a file that is made when the module is imported. Make it in",
        "setup(). Nothing was left out of the program, as its runs no longer say what it needs.",
    ]
    if struck is not None and struck != failure.program:
        lines += ["", "The last program before it in which a fault struck:", str(struck)]
    return replace(failure, kind=KIND, text="\n".join(lines))

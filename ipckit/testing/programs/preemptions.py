"""The runs of a program in which one process is preempted once: a moment each, all others beside.

Contract  `moments(program, steps)` gives each place at which a process may be held until no other
          gets on: before one of its calls, which makes runs without overlap, or before one of the
          steps of a call. `held_at` and `turns_at` make the schedule of such a run for the engines
          `real` and `stepped`. Most bugs of two processes need one preemption, at the right place;
          a program that has none of these failures is likely to be sound.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ipckit.testing.programs.acts import Act
from ipckit.testing.programs.program import Program

ALL = 1 << 40  # more steps than any operation has
NEAR = 400  # steps of a call in which it is held; one that spins may have made 100,000


class Moment(NamedTuple):
    """Before step `step` of call `call` of a lane; None: before the call."""

    lane: int
    call: int
    step: int | None


def moments(program: Program, steps: Callable[[str], int]) -> tuple[list[Moment], list[Moment]]:
    """Give the moments before calls, and those within them; `steps` knows how long a call is."""
    before, within = [], []
    for lane, branch in enumerate(program.branches):
        for number, call in enumerate(branch):
            before.append(Moment(lane, number, None))
            within += [
                Moment(lane, number, step) for step in range(min(steps(call.name), NEAR) + 1)
            ]
    return before, within


def held_at(moment: Moment) -> Act:
    """Hold the process of that lane in that call."""
    if moment.step is None:
        return Act("hold", "before")
    return Act("hold", "step", moment.step)


def turns_at(
    moment: Moment, program: Program, steps: Callable[[str], int], others: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Let a lane come to that moment, then the others to their ends, in that order."""
    branch = program.branches[moment.lane]
    taken = sum(steps(call.name) for call in branch[: moment.call]) + (moment.step or 0)
    first = ((moment.lane, taken),) if taken else ()
    return (*first, *((lane, ALL) for lane in others), (moment.lane, ALL))

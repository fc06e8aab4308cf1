"""The `real` engine: all processes at once, with drawn pauses, kills and stops."""

from __future__ import annotations

import time

from ipckit.testing.engines.common import finish, fork_branches, striking
from ipckit.testing.histories.history import History
from ipckit.testing.processes.child import DONE, Child
from ipckit.testing.processes.crew import Crew
from ipckit.testing.programs.program import Program
from ipckit.testing.programs.schedules import Schedule
from ipckit.testing.spec import Machine

TOGETHER = 150_000  # ns in which the last one wakes up


def run(machine: Machine, program: Program, schedule: Schedule, crew: Crew) -> History:
    """Run a program once. Blocked, Crashed; what an invariant raises."""
    fork_branches(crew, machine, program, schedule, Child.begin_together)
    crew.watch_stops(striking(schedule, "stop"))
    crew.log.start_at(time.monotonic_ns() + TOGETHER)
    for member in crew.members:
        crew.wake(member)
    crew.await_all(DONE)
    return finish(crew, machine, program)

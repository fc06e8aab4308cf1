"""What the engines share: the processes of a program, and the calls after all others.

Contract  `fork_branches` returns when each process is before its first call; the engine then lets
          each of them go on. `finish` makes the last calls and checks the invariants while all
          processes are at rest.
Blocks    until the processes have come there, or `Blocked` or `Crashed` is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ipckit.testing.histories.history import History
from ipckit.testing.processes.child import DONE, READY, Child
from ipckit.testing.processes.crew import Crew
from ipckit.testing.programs.acts import Act
from ipckit.testing.programs.program import Program
from ipckit.testing.programs.schedules import Schedule
from ipckit.testing.spec import Machine


def striking(schedule: Schedule, what: str) -> set[int]:
    """Give the lanes that such an act is scheduled for."""
    return {
        lane
        for lane, calls in schedule.acts.items()
        for acts in calls.values()
        for act in acts
        if act.what == what
    }


def fork_branches(
    crew: Crew,
    machine: Machine,
    program: Program,
    schedule: Schedule,
    begin: Callable[[Child], None],
) -> None:
    """Fork a process for each branch, and let the first make the calls before all others."""
    crew.expected = striking(schedule, "kill")
    if schedule.kill_victim and schedule.victim:
        crew.expected.add(schedule.victim[0])

    def body(child: Child) -> None:
        acts: Mapping[int, Sequence[Act]] = schedule.acts.get(child.lane, {})
        if child.lane == 0:
            child.calls(machine, program.before, {})
        child.report(READY)
        child.wait()
        begin(child)
        child.calls(machine, program.branches[child.lane], acts)
        child.report(DONE)

    for lane in range(len(program.branches)):
        crew.fork(lane, body)
    crew.await_all(READY)


def finish(crew: Crew, machine: Machine, program: Program) -> History:
    """Make the calls after all others, and ask the invariants while all are at rest."""
    if program.after:

        def body(child: Child) -> None:
            child.calls(machine, program.after, {})
            child.report(DONE)

        member = crew.fork(len(program.branches), body)
        crew.await_all(DONE, [member])
    history = crew.history(program)
    machine.ask_invariants(history)
    return history

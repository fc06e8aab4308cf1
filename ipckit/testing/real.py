"""The `real` engine: all processes at once, with drawn pauses, kills and stops."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from ipckit.testing.crew import Crew
from ipckit.testing.history import History
from ipckit.testing.machine import ProcessMachine
from ipckit.testing.plans import Plan
from ipckit.testing.program import Program
from ipckit.testing.worker import DONE, READY, Act, Worker

TOGETHER = 150_000  # ns in which the last one wakes up


def run(machine: ProcessMachine, program: Program, plan: Plan, crew: Crew) -> History:
    """Run a program once. Blocked, Crashed; what an invariant raises."""
    fork_branches(crew, machine, program, plan, Worker.begin_together)
    crew.watch_stops(striking(plan, "stop"))
    crew.log.start_at(time.monotonic_ns() + TOGETHER)
    for member in crew.members:
        crew.wake(member)
    crew.await_all(DONE)
    return finish(crew, machine, program)


def striking(plan: Plan, what: str) -> set[int]:
    """Give the lanes that such an act is planned for."""
    return {
        lane
        for lane, calls in plan.acts.items()
        for acts in calls.values()
        for act in acts
        if act.what == what
    }


def fork_branches(
    crew: Crew,
    machine: ProcessMachine,
    program: Program,
    plan: Plan,
    begin: Callable[[Worker], None],
) -> None:
    """Fork a process for each branch, and let the first make the calls before all others."""
    crew.expected = striking(plan, "kill")
    if plan.kill_victim and plan.victim:
        crew.expected.add(plan.victim[0])

    def body(worker: Worker) -> None:
        acts: Mapping[int, Sequence[Act]] = plan.acts.get(worker.lane, {})
        if worker.lane == 0:
            worker.calls(machine, program.before, {})
        worker.tell(READY)
        worker.wait()
        begin(worker)
        worker.calls(machine, program.branches[worker.lane], acts)
        worker.tell(DONE)

    for lane in range(len(program.branches)):
        crew.fork(lane, body)
    crew.await_all(READY)


def finish(crew: Crew, machine: ProcessMachine, program: Program) -> History:
    """Make the calls after all others, and ask the invariants while all are at rest."""
    if program.after:

        def body(worker: Worker) -> None:
            worker.calls(machine, program.after, {})
            worker.tell(DONE)

        member = crew.fork(len(program.branches), body)
        crew.await_all(DONE, [member])
    history = crew.history(program)
    machine.ask_invariants(history)
    return history

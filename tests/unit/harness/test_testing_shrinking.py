"""What is left of a failing program, and how a run waits for processes that load holds up.

The search is a fake that fails by a rule, so what is left is known beforehand.
"""

from __future__ import annotations

import os
import select
import signal

import pytest
from family import family
from serving import wait_for

from ipckit.testing.histories.history import History
from ipckit.testing.machine import ProcessMachine
from ipckit.testing.processes.progress import SPINS, Progress, cpu_ns, sleeps, state
from ipckit.testing.programs.preemptions import ALL, NEAR, Moment, moments, turns_at
from ipckit.testing.programs.program import Call, Fault, Program
from ipckit.testing.programs.schedules import Schedule, Scheduler
from ipckit.testing.search.failure import Failure
from ipckit.testing.search.shrinking import MOST, ROUNDS, simplify

PUT, GET, NOISE = Call("put"), Call("get"), Call("noise")
LARGE = Program(
    (NOISE, PUT, NOISE),
    ((PUT, NOISE, GET), (NOISE, GET, NOISE), (NOISE,)),
    (NOISE, GET),
    (Fault("kill", 0, 1, "inside"),),
    5,
)


class Search:
    """Fails for a program in which `needed` says so, in one of `rarely` runs of those."""

    def __init__(self, needed, rarely: int = 1) -> None:
        self.machine = ProcessMachine
        self.scheduler = Scheduler("real", steps={"put": 20, "get": 9, "noise": 5})
        self.tried = 0
        self.needed, self.rarely = needed, rarely
        self.fitting = 0
        self.schedules: list[Schedule] = []

    def try_once(self, program: Program, schedule: Schedule) -> Failure | None:
        self.tried += 1
        self.schedules.append(schedule)
        if not self.needed(program):
            return None
        self.fitting += 1
        if self.fitting % self.rarely:
            return None
        return Failure("not linearizable", "", program, schedule, History())


def names(program: Program) -> list[str]:
    calls = (*program.before, *(call for branch in program.branches for call in branch))
    return sorted(call.name for call in (*calls, *program.after))


def a_put_and_a_get(program: Program) -> bool:
    return {"put", "get"} <= set(names(program))


@pytest.mark.parametrize("rarely", [1, 3, 30])
def test_what_a_failure_does_not_need_is_left_out(rarely):
    """F33: also when it shows in one of thirty runs only."""
    search = Search(a_put_and_a_get, rarely)
    failure = simplify(search, Failure("not linearizable", "", LARGE, Schedule(), History()))
    assert names(failure.program) == ["get", "put"]
    assert len(failure.program.branches) == 2 and not failure.program.faults


def test_nothing_smaller_than_what_is_left_failed_in_the_last_round():
    search = Search(lambda program: names(program).count("put") == 2)
    failure = simplify(search, Failure("not linearizable", "", LARGE, Schedule(), History()))
    assert names(failure.program) == ["put", "put"]
    tried = len(search.schedules)
    again = simplify(search, failure)
    assert again is not failure or again.program == failure.program
    assert len(search.schedules) - tried <= (FIRM_RUNS + 8 * ROUNDS[-1]) * ProcessMachine.runs


FIRM_RUNS = 10


def test_the_runs_are_counted():
    """What never fails again costs so many runs, and is given as it was."""
    search = Search(lambda _program: False)
    failure = Failure("not linearizable", "", LARGE, Schedule(), History())
    assert simplify(search, failure) is failure
    assert search.tried <= MOST * ProcessMachine.examples * ProcessMachine.runs


def test_another_kind_of_failure_is_not_taken_for_it():
    search = Search(lambda _program: True)
    failure = Failure("blocked", "", LARGE, Schedule(), History())
    assert simplify(search, failure) is failure


def test_every_place_of_a_preemption_is_planned_once():
    program = Program((), ((PUT, GET), (GET,)), ())
    scheduler = Scheduler("real", steps={"put": 2, "get": 1})
    schedules = [scheduler.preempted(program, run) for run in range(11)]
    assert schedules[10] is None
    places = {
        (lane, call, act.at, act.number)
        for schedule in schedules[:10]
        for lane, calls in schedule.acts.items()
        for call, acts in calls.items()
        for act in acts
    }
    before, within = moments(program, lambda name: {"put": 2, "get": 1}[name])
    assert len(before) == 3 and len(within) == 3 + 2 + 2 and len(places) == 10
    assert Schedule.from_json(schedules[0].to_json()) == schedules[0]


def test_a_call_that_once_spun_is_held_near_its_beginning():
    """F33: it had 100,000 steps beside load; a list of all takes longer than the runs."""
    before, within = moments(Program((), ((PUT,), (GET,)), ()), lambda _name: 100_000)
    assert len(before) == 2 and len(within) == 2 * (NEAR + 1)


def test_a_stepped_preemption_is_a_turn_of_so_many_steps():
    program = Program((), ((PUT, GET), (GET,)), ())
    turns = turns_at(Moment(0, 1, 3), program, lambda _name: 10, [1])
    assert turns == ((0, 13), (1, ALL), (0, ALL))
    assert turns_at(Moment(1, 0, None), program, lambda _name: 10, [0]) == ((0, ALL), (1, ALL))


def test_who_waits_polls_or_spins_is_stuck():
    def waits():
        signal.pause()

    def polls():
        while True:
            select.select([], [], [], 0.0001)

    def spins():
        while True:
            pass

    for what in (waits, polls, spins):
        with family() as start:
            child = start(what)
            progress = Progress()
            wait_for(lambda child=child, progress=progress: progress.stuck(child.pid))
            child.kill()
            assert progress.stuck(child.pid) and state(child.pid) == "X"
            assert cpu_ns(child.pid) == 0 == sleeps(child.pid)


def test_who_has_had_no_cpu_is_not_stuck():
    """F33: a process that could run, and does not, is waited for."""

    def spins():
        while True:
            pass

    with family() as start:
        child = start(spins)
        wait_for(lambda: cpu_ns(child.pid) > 0)
        os.kill(
            child.pid, signal.SIGSTOP
        )  # as one that the scheduler leaves aside, except for the letter
        wait_for(lambda: state(child.pid) == "T")
        progress = Progress()
        had = cpu_ns(child.pid)
        assert not any(progress.stuck(child.pid) for _ in range(200))
        assert cpu_ns(child.pid) == had
        os.kill(child.pid, signal.SIGCONT)
        wait_for(lambda: progress.stuck(child.pid))
        assert cpu_ns(child.pid) - had > SPINS
        child.kill()

"""Histories, verdicts and programs, example by example."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from deadlines import LOOK

from ipckit.testing import Event, History, Kill, Operation, Raised, Stop, check
from ipckit.testing.errors import MachineError
from ipckit.testing.machine import ProcessMachine
from ipckit.testing.models import AtLeastOnce, Counter, FifoQueue, Register, conserved
from ipckit.testing.programs.acts import Act
from ipckit.testing.programs.program import Call, Fault, Program
from ipckit.testing.programs.schedules import Schedule, Scheduler
from ipckit.testing.search.candidates import PAIRS_UP_TO, smaller, smaller_by_two
from ipckit.testing.search.failure import load
from ipckit.testing.spec import invariant, op

LOST = History(
    [
        Operation(0, "add", {}, 10, 50, 1),
        Operation(1, "add", {}, 20, 40, 1),
        Operation(0, "get", {}, 60, 70, 1),
    ]
)


def test_a_lost_update_is_explained():
    verdict = check(LOST, Counter())
    assert verdict.outcome == "not_linearizable"
    assert not verdict
    assert len(verdict.counter_example) == 2
    assert verdict.unplaced.result == 1
    assert verdict.expected == (2,)
    text = str(verdict)
    assert text.startswith("not linearizable: 2 processes, 2 operations")
    assert "Fits nowhere" in text
    assert "would have answered 2" in text


def test_a_pass_is_true_and_the_other_outcomes_are_not():
    fine = check(History([Operation(0, "add", {}, 1, 2, 1)]), Counter())
    assert fine
    assert fine.linearizable
    alone = check(History([Operation(0, "add", {}, 1, 2, 1)]), Counter(), overlap=True)
    assert alone.vacuous
    assert not alone


def test_a_hostile_history_ends_as_unknown_at_its_budget():
    """Thirty overlapping writes of different values, and a read of a value that none wrote."""
    writes = [Operation(i, "write", {"value": i}, 1, 1000) for i in range(30)]
    verdict = check(
        History([*writes, Operation(99, "read", {}, 1, 1000, -1)]), Register(), timeout=0.3
    )
    assert verdict.unknown
    assert not verdict
    assert str(verdict) == "unknown"


def test_a_cut_operation_happened_before_the_death_or_not_at_all():
    cut = Operation(0, "write", {"value": 7}, 10, 20, cut=True)

    def read(at, value):
        return Operation(1, "read", {}, at, at + 1, value)

    for seen in ([7], [None], [None, 7], [7, 7]):
        reads = [read(12 + 3 * i, value) for i, value in enumerate(seen)]
        assert check(History([cut, *reads]), Register()), seen
    late = [read(30, None), read(40, 7)]  # it was not there after the death, then it was
    assert check(History([cut, *late]), Register()).not_linearizable


def test_a_process_does_one_thing_at_a_time():
    with pytest.raises(ValueError, match="began before"):
        History([Operation(0, "get", {}, 1, 5), Operation(0, "get", {}, 3, 7)])
    with pytest.raises(ValueError, match="must be called=9 or later"):
        Operation(0, "get", {}, 9, 5)


def test_what_is_counted():
    history = History(
        [
            Operation(0, "add", {}, 1, 2, 1),
            Operation(0, "add", {}, 3, 4, Raised.of(ValueError("no"))),
            Operation(1, "add", {}, 1, 4, cut=True),
        ],
        [Event(1, "killed", 4)],
    )
    assert (history.completed("add"), history.cut("add"), history.completed("get")) == (1, 1, 0)
    assert history.results("add") == [1]
    assert history.processes == [0, 1]
    assert "! killed" in str(history)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"ipckit-history": 2}', '{"ipckit-history": 1}']
)
def test_a_file_that_is_no_history_is_refused(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"bad\.json"):
        History.load(path)
    with pytest.raises(ValueError, match=r"bad\.json"):
        load(path)


def test_an_exception_equals_one_of_its_class():
    class Special(KeyError):
        pass

    assert Raised.of(Special("a")) == Raised.of(KeyError("b"))
    assert Raised.of(ValueError()) != Raised.of(KeyError())


def test_delivery_may_repeat_and_may_not_lose():
    def said(*results):
        return History([
            Operation(0, "send", {"value": 1}, 1, 2),
            *(Operation(1, "receive", {}, 10 * i, 10 * i + 1, value) for i, value in enumerate(results, 1)),
        ])  # fmt: skip

    assert check(said(1, 1, None), AtLeastOnce())
    assert check(said(None), AtLeastOnce()).not_linearizable
    assert check(said(2), AtLeastOnce()).not_linearizable
    assert conserved([1, 2, 2], [2], [2, 1])
    assert not conserved([1, 2, 2], [2], [1])


PROGRAM = Program(
    (Call("put", {"value": b"\0"}),),
    ((Call("get"), Call("get")), (Call("get"),), (Call("put", {"value": (1, 2)}),)),
    (Call("get"),),
    (Fault("kill", 0, 1, "inside"),),
    7,
)


def test_programs_and_plans_come_back_from_json():
    form = json.loads(json.dumps(PROGRAM.to_json()))
    assert Program.from_json(form) == PROGRAM
    assert Program.from_json(form).key() == PROGRAM.key()
    for engine in ("real", "stepped", "ptrace"):
        scheduler = Scheduler(engine)
        for known in ({}, {"get": (9, 2), "put": (30, 0)}):
            scheduler.learn(known, dict.fromkeys(known, 1000))
            scheduler.instructions.update({name: count for name, (count, _) in known.items()})
            for run in range(20):
                schedule = scheduler.schedule(PROGRAM, run)
                assert Schedule.from_json(json.loads(json.dumps(schedule.to_json()))) == schedule
                assert scheduler.schedule(PROGRAM, run) == schedule


def test_a_planned_kill_befalls_whom_the_program_says():
    acts = Scheduler("real").schedule(PROGRAM, 0).acts
    kills = [
        (lane, call, act)
        for lane, calls in acts.items()
        for call, each in calls.items()
        for act in each
        if act.what == "kill"
    ]
    assert [(lane, call) for lane, call, _ in kills] == [(0, 1)]
    assert isinstance(kills[0][2], Act)


def test_the_others_make_their_calls_beside_half_of_those_killed_between_two_instructions():
    """Else what nobody meets but a process that stands half way is never met in runs with kills."""
    scheduler = Scheduler("ptrace", instructions={"get": 1000, "put": 1000})
    schedules = [scheduler.schedule(PROGRAM, run) for run in range(200)]
    assert all(schedule.kill_victim for schedule in schedules)
    assert 70 <= sum(schedule.kill_after_others for schedule in schedules) <= 130


def test_every_smaller_program_has_one_thing_less_and_whole_faults():
    for program in smaller(PROGRAM):
        assert program.weight()[:3] < PROGRAM.weight()[:3]
        assert len(program.branches) >= 2
        for fault in program.faults:
            assert program.branches[fault.process][fault.operation].name == "get"


def test_two_things_less_are_tried_of_small_programs():
    less = {program.key() for one in smaller(PROGRAM) for program in smaller(one)}
    assert {program.key() for program in smaller_by_two(PROGRAM)} == less != set()
    large = replace(PROGRAM, before=PROGRAM.before * 20)
    assert large.count() > PAIRS_UP_TO and not list(smaller_by_two(large))


def test_a_call_that_is_left_keeps_its_pauses_and_faults():
    put, get = Call("put"), Call("get")
    larger = Program((), ((put, get, put), (get,)), (), (Fault("kill", 0, 1, "start"),), 1)
    pause, kill = Act("pause", "step", 3, 1000), Act("kill", "start")
    schedule = Schedule({0: {1: (kill,), 2: (pause,)}, 1: {0: (pause,)}})
    scheduler = Scheduler("real")
    without_put = replace(
        larger, branches=((get, put), (get,)), faults=(Fault("kill", 0, 0, "start"),)
    )
    assert scheduler.likewise(schedule, larger, without_put, 0) == Schedule(
        {0: {0: (kill,), 1: (pause,)}, 1: {0: (pause,)}}
    )
    without_fault = replace(larger, faults=())
    varied = scheduler.likewise(schedule, larger, without_fault, 1)
    assert set(varied.acts[0]) == {2} and 500 <= varied.acts[0][2][0].ns <= 1500
    assert (
        scheduler.likewise(schedule, larger, replace(larger, branches=((put,), (put,))), 0) is None
    )
    wider = replace(larger, branches=((put,), *larger.branches), faults=())
    shifted = Schedule({1: schedule.acts[0], 2: schedule.acts[1]})
    assert scheduler.likewise(shifted, wider, without_fault, 0) == Schedule(
        {0: {2: (pause,)}, 1: {0: (pause,)}}
    )


def machine(**settings):
    def one(self):
        return 1

    def in_model(self, state):
        return state, 1

    operation = op()(one)
    operation.model(in_model)
    return type(
        "Sample", (ProcessMachine,), {"one": operation, "model": lambda self: 0, **settings}
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"processes": 1}, "processes=1: must be an int of 2..16"),
        ({"runs": 0}, "runs=0: must be an int of 1 or more"),
        ({"engine": "fast"}, "engine='fast': must be one of real"),
        ({"partition": "key"}, "no argument 'key'"),
        ({"faults": ["kill"]}, "faults has 'kill': must be"),
        ({"engine": "stepped", "faults": [Stop()]}, "Stop"),
        ({"engine": "ptrace", "faults": [Kill(at="here")]}, "at='here'"),
    ],
)
def test_a_wrong_setting_is_named(settings, says):
    with pytest.raises(MachineError, match=says):
        machine(**settings).examine()


def test_a_monitor_judges_from_its_own_start_only():
    class Begun(ProcessMachine):
        specification = FifoQueue()

        def model(self):
            return (1, 2)

        @op()
        def get(self):
            return 1

    history = History([Operation(0, "get", {}, 1, 2, 1), Operation(0, "get", {}, 3, 4, 2)])
    assert check(history, Begun().sequential())


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [("bump", {}, "no operation 'bump'"), ("add", {"much": 1}, r"takes \['by'\], not \['much'\]")],
)
def test_what_a_model_does_not_know_is_no_fault_of_the_object(name, arguments, says):
    """Also where the object raised what Python would for it."""
    for result in (1, Raised.of(KeyError(name)), Raised.of(TypeError(name))):
        with pytest.raises(MachineError, match=says):
            check(History([Operation(0, name, arguments, 1, 2, result)]), Counter())


def test_a_machine_without_operations_or_model_is_refused():
    with pytest.raises(MachineError, match="no operation"):
        type("Empty", (ProcessMachine,), {}).examine()
    with pytest.raises(MachineError, match="has no model"):
        type("Half", (ProcessMachine,), {"one": op()(lambda self: 1)}).examine()
    with pytest.raises(ValueError, match="quiet"):
        invariant(when="always")


def test_an_invariant_of_a_subclass_replaces_the_one_of_its_name():
    class Base(ProcessMachine):
        asked = ()

        @invariant()
        def one(self, history):
            self.asked += ("base's one",)

        @invariant()
        def two(self, history):
            self.asked += ("base's two",)

    class Derived(Base):
        @invariant()
        def one(self, history):
            super().one(history)
            self.asked += ("derived's one",)

        def two(self, history):
            self.asked += ("no invariant",)

    for machine, asked in (
        (Base(), ("base's one", "base's two")),
        (Derived(), ("base's one", "derived's one")),
    ):
        machine.ask_invariants(History([]))
        assert machine.asked == asked


def test_importing_it_loads_neither_hypothesis_nor_a_primitive():
    code = """if True:
        import sys
        from ipckit.testing import History, check, kill_point
        kill_point("here")
        print(sorted(set(sys.modules) & {"hypothesis", "pytest", "ipckit.table"}))
    """
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LOOK, check=True
    )
    assert said.stdout.strip() == "[]"

"""What an earlier run left is reported as such, and not as a failure of the program that met it."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from harness import outliving

from ipckit.testing import PropertyFailed
from ipckit.testing.histories.history import History
from ipckit.testing.machine import ProcessMachine
from ipckit.testing.programs.acts import Act
from ipckit.testing.programs.program import Call, Fault, Program
from ipckit.testing.programs.schedules import Schedule
from ipckit.testing.search.control import KIND, Control, one_after_the_other
from ipckit.testing.search.failure import Failure, load
from ipckit.testing.search.fresh import fails_in_fresh_interpreter
from ipckit.testing.search.search import Search, run_machine

ADD, GET = Call("add"), Call("get")
TWO = Program((), ((ADD,), (ADD,)), ())


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where failures are saved
    monkeypatch.setattr(outliving, "LOCK", multiprocessing.get_context("fork").Lock())


def test_a_lock_that_a_killed_process_keeps_for_all_runs_is_told():
    """F32: the program that is shown has its kill, or the one before it that had."""
    with pytest.raises(PropertyFailed) as caught:
        run_machine(outliving.LockOfTheModule)
    assert str(caught.value).startswith(f"{KIND}: LockOfTheModule: 2 processes, ")
    assert "It was seen as: blocked: " in str(caught.value)
    assert "kill of process" in str(caught.value)
    assert caught.value.failure.kind == KIND


def test_what_a_fresh_interpreter_does_not_show_is_told():
    """F32: the shrunk program needs no kill here, where the lock is kept, and fails nowhere else."""
    search = Search(outliving.LockOfSomeCalls)
    try:
        killed = Program((), ((ADD,), (GET,)), (), (Fault("kill", 0, 0, "holds the lock"),))
        schedule = Schedule({0: {0: (Act("kill", "point holds the lock"),)}})
        assert search.try_once(killed, schedule) is None
        failure = search.try_once(TWO, Schedule())
        assert failure.kind == "blocked" and not failure.program.faults
        text = search.report(failure, 1, fresh=True)
    finally:
        search.close()
    assert text.startswith(f"{KIND}: LockOfSomeCalls: 2 processes, 2 operations, blocked\n")
    assert "In a fresh interpreter it failed in none of 20 runs." in text
    (saved,) = Path(".ipckit").glob("*.json")
    assert load(saved)[0]["kind"] == "blocked"
    assert fails_in_fresh_interpreter(outliving.LockOfSomeCalls, saved) is False


def test_what_fails_there_as_well_is_told_as_it_was():
    search = Search(outliving.LockOfSomeCalls)
    try:
        killed = Program((), ((ADD,), (GET,)), (ADD,), (Fault("kill", 0, 0, "holds the lock"),))
        schedule = Schedule({0: {0: (Act("kill", "point holds the lock"),)}})
        failure = search.try_once(killed, schedule)
        assert failure.kind == "blocked"
        text = search.report(failure, 1, fresh=True)
    finally:
        search.close()
    assert text.startswith("blocked: LockOfSomeCalls: 2 processes, 3 operations\n")
    (saved,) = Path(".ipckit").glob("*.json")
    assert fails_in_fresh_interpreter(outliving.LockOfSomeCalls, saved) is True


def test_why_a_class_cannot_be_tried_afresh_is_said(tmp_path):
    class Local(ProcessMachine):
        pass

    assert (
        fails_in_fresh_interpreter(Local, tmp_path / "none") == "the class is local to a function"
    )
    said = fails_in_fresh_interpreter(outliving.LockOfSomeCalls, tmp_path / "none")
    assert "FileNotFoundError" in said


@pytest.mark.parametrize("engine", ["real", "stepped", "ptrace"])
def test_the_control_is_taken_once_and_passes_before_it_may_fail(engine):
    wide = Program((), ((ADD,), (ADD,), (GET,)), (GET,), (Fault("kill", 2, 0, "start"),))
    program, schedule = one_after_the_other(wide, engine)
    assert len(program.branches) == 2 and not program.faults and program.after == (GET,)
    bad = Failure("blocked", "", program, schedule, History())
    answers = [None, bad, None, bad, bad]
    control = Control()
    for each in (wide, TWO):
        control.begin(each, engine, lambda *_: answers.pop(0))
    assert control.fails(lambda *_: answers.pop(0)) is None  # one of two: chance
    assert control.fails(lambda *_: answers.pop(0)) is bad and not answers
    never = Control()
    never.begin(wide, engine, lambda *_: bad)
    assert never.fails(lambda *_: bad) is None  # it says nothing of later runs

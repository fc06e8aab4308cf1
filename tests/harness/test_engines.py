"""The harness itself: what each engine finds, how it reports that, and that a failure repeats."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import select
import struct
import time
from pathlib import Path

import pytest
from deadlines import LOOK
from hypothesis import strategies as st

from ipckit import Atomic
from ipckit.testing import Kill, PropertyFailed, Stop, invariant, kill_point, op
from ipckit.testing.machine import ProcessMachine
from ipckit.testing.models import Counter
from ipckit.testing.programs.acts import Act
from ipckit.testing.programs.program import Call, Fault, Program
from ipckit.testing.programs.schedules import Schedule
from ipckit.testing.search.failure import load
from ipckit.testing.search.search import Search, replay, run_machine


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where failures are saved
    monkeypatch.setattr(
        "ipckit.testing.search.search.SHRINKING", 0.1
    )  # tests/seeded is about shrinking


class Shared(ProcessMachine):
    """A number in shared memory, added to without any care."""

    processes = 2
    operations = 2
    specification = Counter()

    def setup(self):
        self.memory = mmap.mmap(-1, mmap.PAGESIZE)

    def teardown(self):
        self.memory.close()

    def read(self):
        return struct.unpack_from("=q", self.memory)[0]

    def write(self, value):
        struct.pack_into("=q", self.memory, 0, value)

    @op()
    def add(self):
        value = self.read()
        kill_point("between")
        self.write(value + 1)
        return value + 1


class Stepped(Shared):
    engine = "stepped"


class Locked(Shared):
    """The same memory, and a lock that the kernel takes from the dead."""

    def setup(self):
        super().setup()
        self.file = os.memfd_create("lock")

    def teardown(self):
        super().teardown()
        os.close(self.file)

    @contextlib.contextmanager
    def locked(self):
        with open(f"/proc/self/fd/{self.file}", "rb") as own:  # a description of its own
            fcntl.flock(own, fcntl.LOCK_EX)
            yield


def failure_of(machine) -> tuple[PropertyFailed, str]:
    with pytest.raises(PropertyFailed) as caught:
        run_machine(machine)
    return caught.value, str(caught.value)


@pytest.mark.parametrize("machine", [Shared, Stepped])
def test_a_lost_update_is_found_and_shrunk(machine):
    error, text = failure_of(machine)
    assert text.startswith(f"not linearizable: {machine.__name__}: 2 processes, 2 operations\n")
    assert len(error.failure.program.branches) == 2
    assert error.failure.program.count() == 2
    assert "process 0  add()\nprocess 1  add()" in text
    assert "--ipckit-replay=.ipckit/" in text
    page = next(Path(".ipckit").glob("*.html")).read_text()
    assert "not linearizable" in page


def test_stepped_repeats_a_saved_failure_100_times_of_100():
    failure_of(Stepped)
    path = next(Path(".ipckit").glob("*.json"))
    _, program, schedule = load(path)
    search = Search(Stepped)
    try:
        seen = set()
        for _ in range(100):
            failure = search.try_once(program, schedule)
            assert failure is not None
            seen.add(tuple((each.process, each.name, each.result) for each in failure.history))
            moments = sorted(
                (moment, each.process, end)
                for each in failure.history
                for end, moment in (("call", each.called), ("return", each.returned))
            )
            seen.add(tuple(moment[1:] for moment in moments))
    finally:
        search.close()
    assert len(seen) == 2  # one order of results, one of calls and returns


def test_a_replay_fails_again_and_passes_once_it_is_mended():
    failure_of(Stepped)
    path = next(Path(".ipckit").glob("*.json"))
    with pytest.raises(PropertyFailed, match="not linearizable: Stepped"):
        replay(Stepped, path)

    class Mended(Locked):
        engine = "stepped"

        @op()
        def add(self):
            with self.locked():
                self.write(self.read() + 1)
                return self.read()

    form = json.loads(path.read_text())
    form["machine"] = f"{Mended.__module__}:{Mended.__qualname__}"
    path.write_text(json.dumps(form))
    replay(Mended, path)

    Mended.examples = 12  # and processes that wait for each other are stepped to the end
    run_machine(Mended)


class Halves(Locked):
    """Two numbers that belong together, and no recovery after a death between them."""

    faults = (Kill(at="between"),)

    @op()
    def add(self):
        with self.locked():
            one, two = struct.unpack_from("=qq", self.memory)
            struct.pack_into("=q", self.memory, 0, one + 1)
            kill_point("between")
            struct.pack_into("=q", self.memory, 8, two + 1)
            return two + 1

    @invariant(when="quiet")
    def halves_agree(self, history):
        one, two = struct.unpack_from("=qq", self.memory)
        assert one == two, f"{one} and {two}"


@pytest.mark.parametrize("engine", ["real", "stepped"])
def test_a_kill_at_a_point_breaks_an_invariant(engine):
    machine = type("HalvesOf", (Halves,), {"engine": engine})
    error, text = failure_of(machine)
    assert error.failure.kind == "invariant broken"
    assert "halves_agree: AssertionError: " in text
    assert "kill of process" in text
    assert "! killed" in text
    machine.faults = ()
    machine.examples = 8
    run_machine(machine)


def test_who_waits_for_ever_is_told_with_its_stack():
    class Waits(Shared):
        deadline = 0.5

        @op()
        def add(self):
            for_ever, _other = os.pipe()
            os.read(for_ever, 1)

    error, text = failure_of(Waits)
    assert error.failure.kind == "blocked"
    assert "process 0 is in its call 1, state S" in text
    assert "in add" in text
    assert "hypothesis" not in text.split("us  process")[0]


def test_who_ends_unasked_is_told():
    class Ends(Shared):
        @op()
        def add(self):
            os._exit(3)

    error, text = failure_of(Ends)
    assert error.failure.kind == "crashed"
    assert "ended with exit code 3, in its call 1" in text


@pytest.mark.parametrize("number", [3, 20])
def test_a_property_without_overlap_is_vacuous(number):
    class Alone(Shared):
        partition = "key"
        specification = None
        examples = number
        runs = 1

        def model(self):
            return None

        @op(key=st.uuids())
        def add(self, key):
            return 1

        @add.model
        def _(self, state, key):
            return state, 1

    _, text = failure_of(Alone)
    assert text.startswith("vacuous: Alone: in only 0 of ")


@pytest.mark.parametrize(
    ("out_of_time", "runs", "vacuous"),
    [(True, 19, False), (True, 20, True), (False, 19, True), (False, 1, True)],
)
def test_only_a_search_that_its_time_ended_early_is_not_called_vacuous(out_of_time, runs, vacuous):
    """A busy machine does few runs in a time; a number of examples is the same on each."""
    search = Search(Shared)
    try:
        search.out_of_time, search.runs = out_of_time, runs
        with (
            pytest.raises(PropertyFailed, match="vacuous") if vacuous else contextlib.nullcontext()
        ):
            search.demand_something_shown()
    finally:
        search.close()


def test_a_result_that_cannot_be_kept_is_the_machines_fault():
    class Unpicklable(Shared):
        @op()
        def add(self):
            return lambda: 1

    with pytest.raises(Exception, match=r"add\(\): an operation returned .* cannot be pickled"):
        run_machine(Unpicklable)


def test_a_stopped_process_goes_on_when_the_others_are_done():
    class Stopped(Shared):
        faults = (Stop(at="between"),)
        examples = 30
        runs = 2

    error, _ = failure_of(Stopped)
    assert error.failure.kind == "not linearizable"


def test_a_traced_process_that_waits_is_let_go_and_its_call_goes_on():
    class Waits(Shared):
        engine = "ptrace"
        libraries = ("_rows",)
        examples = 4
        runs = 2

        def setup(self):
            self.number = Atomic()

        def teardown(self):
            pass

        @op()
        def add(self):
            nothing, _other = os.pipe()
            began = time.monotonic()
            assert select.select([nothing], [], [], 0.15)[0] == []
            assert time.monotonic() - began > 0.14
            return self.number.add()

    run_machine(Waits)


def test_a_traced_process_may_wait_for_another_before_its_traced_call():
    class WaitsFirst(Shared):
        engine = "ptrace"
        libraries = ("_rows",)

        def setup(self):
            self.number = Atomic()

        def teardown(self):
            pass

        @op()
        def add(self):
            return self.number.add()

        @op()
        def wait(self):
            assert self.number.wait(0, timeout=LOOK)
            return 0

        @wait.model
        def _(self, state):
            return [(state, 0)]

    program = Program((), ((Call("wait"), Call("add")), (Call("add"),)), ())
    schedule = Schedule({0: {1: (Act("trace", "start"),)}}, victim=(0, 1, 5))
    search = Search(WaitsFirst)
    try:
        assert search.try_once(program, schedule) is None
    finally:
        search.close()


def test_a_crash_under_ptrace_is_told(capfd):
    """F33: in the report, with its stack, and nowhere else."""

    class Segfaults(Shared):
        engine = "ptrace"
        libraries = ("_rows",)

        def setup(self):
            self.number = Atomic()

        def teardown(self):
            pass

        @op()
        def add(self):
            self.number.add()
            return ctypes.string_at(0)

    error, text = failure_of(Segfaults)
    assert error.failure.kind == "crashed"
    assert "ended by SIGSEGV, in its call 1" in text
    assert "Fatal Python error: Segmentation fault" in text and "in add" in text
    assert "test_engines.py" in text and "in _one" not in text
    assert capfd.readouterr() == ("", "")


def test_who_spins_has_no_turn_for_ever():
    class Spins(Stepped):
        examples = 12

        def setup(self):
            super().setup()
            self.lock = Atomic()

        @op()
        def add(self):
            while not self.lock.compare_and_set(0, 1):
                os.sched_yield()
            self.write(self.read() + 1)
            value = self.read()
            self.lock.set(0)
            return value

    run_machine(Spins)


@pytest.mark.parametrize("name", ["between", "step", "timer"])
def test_a_kill_point_may_have_any_name(name):
    class Named(Halves):
        faults = (Kill(at=name),)

        @op()
        def add(self):
            with self.locked():
                one, two = struct.unpack_from("=qq", self.memory)
                struct.pack_into("=q", self.memory, 0, one + 1)
                kill_point(name)
                struct.pack_into("=q", self.memory, 8, two + 1)
                return two + 1

    error, _ = failure_of(Named)
    assert error.failure.kind == "invariant broken"


class Sometimes(Halves):
    """An operation that does not come to the point, beside the one that does."""

    @op()
    def read(self):
        with self.locked():
            return struct.unpack_from("=q", self.memory, 8)[0]

    @read.model
    def _(self, state):
        return state, state


@pytest.mark.parametrize("engine", ["real", "stepped"])
@pytest.mark.parametrize(("number", "struck"), [(0, 2), (1, 3), (2, None)])
def test_a_kill_waits_for_the_call_that_comes_to_its_point(engine, number, struck):
    """The fault is of the first call, which does not; `number` passes of the point go before it."""
    machine = type("SometimesOf", (Sometimes,), {"engine": engine})
    calls = tuple(Call(name) for name in ("read", "read", "add", "add"))
    fault = Fault("kill", 0, 0, "between")
    program = Program((), (calls, (Call("read"),)), (), (fault,))
    act = Act("kill", "point between", number)
    search = Search(machine)
    try:
        failure = search.try_once(program, Schedule({0: {0: (act,)}}))
    finally:
        search.close()
    if struck is None:
        assert failure is None
        return
    assert failure.kind == "invariant broken"
    mine = [each for each in failure.history if each.process == 0]
    assert [each.cut for each in mine] == [False] * struck + [True]


def test_a_kill_point_that_nobody_comes_to_is_told():
    class Mistyped(Halves):
        faults = (Kill(at="betwen"),)
        examples = 30

    _, text = failure_of(Mistyped)
    assert text.startswith("vacuous: Mistyped: in ")
    assert "a kill_point('betwen') that the operations come to?" in text


def test_a_search_ends_with_its_time():
    class Long(Shared):
        seconds = 0.5
        specification = None

        def model(self):
            return 0

        @op()
        def add(self):
            time.monotonic()
            return 1

        @add.model
        def _(self, state):
            return state, 1

    began = time.monotonic()
    run_machine(Long)
    assert time.monotonic() - began < LOOK

"""The steps of Python code: all of its instructions, in the first call as in any other."""

from __future__ import annotations

import dis
import os
import sys
import threading
from types import CodeType

import pytest
from deadlines import LOOK

from ipckit.testing import kill_point
from ipckit.testing.errors import MachineError
from ipckit.testing.processes.bytecode import Steps

PROGRAMS = {
    "straight": """
def run():
    memory = [0]
    memory[0] += 1
    return memory[0]
""",
    "calls": """
def inner(number):
    return number + 1

def run():
    return inner(inner(1))
""",
    "a generator": """
def numbers():
    try:
        for number in range(3):
            yield number
    finally:
        kept = 1

def run():
    first = numbers()
    next(first)
    first.close()
    return sum(numbers())
""",
    "comprehensions": """
def run():
    squares = [number * number for number in range(3)]
    return {number: sum(each for each in squares if each != number) for number in squares}
""",
    "an exception": """
def raises():
    try:
        raise KeyError(1)
    finally:
        kept = 1

def run():
    try:
        raises()
    except KeyError as error:
        return str(error)
""",
    "a closure": """
def run():
    count = 0
    def add():
        nonlocal count
        count += 1
        return count
    return add() + add()
""",
    "a class": """
def run():
    class Pair:
        size = 2
        def double(self):
            return self.size * 2
    return Pair().double()
""",
    "a coroutine": """
async def answer():
    return 42

async def ask():
    return await answer()

def run():
    try:
        ask().send(None)
    except StopIteration as end:
        return end.value
""",
    "a loop": """
def run():
    total = 0
    for number in range(100):
        total += number
    return total
""",
}


def new(text):
    """`run` of a program that nobody has called yet: its code objects are new."""
    names = {}
    exec(compile(text, "program.py", "exec"), names)
    return names["run"]


def steps_of(call) -> list[str | None]:
    """What each step of a call was; the call itself is none of the functions that are traced."""
    seen = []
    steps = Steps(seen.append)
    steps.begin()
    try:
        call()
    finally:
        steps.end()
    return seen


def traced(code: CodeType) -> int:
    """How many instructions of a function without jumps are steps: all but RESUME."""
    return sum(each.opname != "RESUME" for each in dis.get_instructions(code))


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_first_call_has_the_steps_of_all_others(program):
    run = new(PROGRAMS[program])
    first, *others = [len(steps_of(run)) for _ in range(5)]
    assert first > 0 and others == [first] * 4


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_first_call_of_a_child_has_the_steps_of_its_parents(program):
    """Each process of a run is forked from one that may have traced the same functions."""
    run = new(PROGRAMS[program])
    expected = len(steps_of(run))
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, b"%d %d" % (len(steps_of(run)), len(steps_of(run))))
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="ascii") as answer:
        assert answer.read() == f"{expected} {expected}"
    os.waitpid(pid, 0)


def test_each_instruction_is_one_step():
    run = new(PROGRAMS["straight"])
    assert len(steps_of(run)) == traced(run.__code__)


def test_a_step_is_before_its_instruction():
    memory, seen = [0], []

    def add():
        memory[0] += 1

    steps = Steps(lambda _name: seen.append(memory[0]))
    steps.begin()
    try:
        add()
    finally:
        steps.end()
    stored = [each.opname for each in dis.get_instructions(add)].index("STORE_SUBSCR")
    after = len(list(dis.get_instructions(add))[stored + 1 :])
    assert seen == [0] * (len(seen) - after) + [1] * after and 0 < after < len(seen)


def test_a_function_that_runs_already_has_no_steps():
    """Only what is called in between has; the same function called again has all of its own."""
    seen = []

    def outer(again=False):
        kept = 1
        if again:
            steps = Steps(seen.append)
            steps.begin()
            kept += 1
            outer()
            kept += 1
            steps.end()
        return kept

    outer(again=True)
    assert len(seen) == len(steps_of(outer)) > 0


def test_a_kill_point_is_one_step_with_its_name():
    def point():
        kill_point("between")

    seen = steps_of(point)
    assert [each for each in seen if each] == ["between"]
    assert len(seen) == traced(point.__code__) + 1, "none of the harness's own instructions"


def test_kill_points_alone():
    def point():
        kill_point("between")

    seen = []
    steps = Steps(seen.append, instructions=False)
    steps.begin()
    point()
    steps.end()
    point()
    assert seen == ["between"]


def test_another_thread_has_no_steps():
    run = new(PROGRAMS["a loop"])
    begin, ended = threading.Lock(), threading.Lock()
    begin.acquire()
    ended.acquire()

    def other():
        begin.acquire(timeout=LOOK)
        run()
        ended.release()

    def beside():
        begin.release()
        return ended.acquire(timeout=LOOK)

    thread = threading.Thread(target=other)
    thread.start()
    seen = steps_of(beside)
    thread.join(LOOK)
    assert not thread.is_alive()
    ended.release()
    assert len(seen) == len(steps_of(beside)) > 0, "as many as without the other thread"


def test_after_the_end_there_are_no_steps():
    run = new(PROGRAMS["calls"])
    seen = []
    steps = Steps(seen.append)
    steps.begin()
    run()
    steps.end()
    count = len(seen)
    run()
    assert len(seen) == count > 0


def test_what_traced_before_traces_afterwards():
    """A debugger's trace function is the thread's again."""

    def trace(_frame, _event, _arg):
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        assert steps_of(new(PROGRAMS["calls"]))
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)


needs_monitoring = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="sys.monitoring is of Python 3.12 and later"
)


def tools() -> list[str | None]:
    return [sys.monitoring.get_tool(tool) for tool in range(6)]


@pytest.fixture
def other_tools():
    """Take ids of sys.monitoring as other tools would; none is left."""
    taken = []

    def take(count):
        for tool in range(6):
            if len(taken) < count and sys.monitoring.get_tool(tool) is None:
                sys.monitoring.use_tool_id(tool, f"tool {tool}")
                taken.append(tool)
        return taken

    yield take
    for tool in taken:
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.register_callback(tool, sys.monitoring.events.INSTRUCTION, None)
        sys.monitoring.free_tool_id(tool)


@needs_monitoring
def test_the_tool_id_is_free_again():
    before = tools()
    during = []
    steps = Steps(lambda _name: during.append(tools()))
    steps.begin()
    new(PROGRAMS["calls"])()
    steps.end()
    assert tools() == before
    assert all(each.count("ipckit.testing") == 1 for each in during) and during


@needs_monitoring
def test_the_last_free_id_is_enough(other_tools):
    run = new(PROGRAMS["calls"])
    expected = len(steps_of(run))
    other_tools(tools().count(None) - 1)
    assert tools().count(None) == 1
    assert len(steps_of(run)) == expected
    assert tools().count(None) == 1


@needs_monitoring
def test_without_a_free_id_nothing_changes(other_tools):
    other_tools(6)
    seen = []
    steps = Steps(seen.append)
    with pytest.raises(MachineError, match="the 6 tool ids"):
        steps.begin()
    kill_point("nobody acts here")
    new(PROGRAMS["calls"])()
    assert seen == []


@needs_monitoring
def test_another_tool_sees_what_it_saw_without_us(other_tools):
    """It has events of the same kind: they go on during the steps and after them."""
    run = new(PROGRAMS["a loop"])
    (tool,) = other_tools(1)
    event = sys.monitoring.events.INSTRUCTION
    counted = []

    def count(code, offset):
        if code is run.__code__:
            counted.append(offset)

    sys.monitoring.register_callback(tool, event, count)
    sys.monitoring.set_events(tool, event)
    run()
    alone = counted.copy()
    counted.clear()
    assert len(steps_of(run)) == len(alone) and counted == alone
    counted.clear()
    run()
    assert counted == alone

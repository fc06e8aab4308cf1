"""The time limit of an attempt: no signal of others ends it, and no timer outlives the block."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from deadlines import LOOK

from ipckit.errors import QueueEmpty, TaskTimeout
from ipckit.queue import SysvQueue
from ipckit.server.tasks import time_limit
from ipckit.server.tasks.time_limit import TimeLimit

LONG = 1000.0
TIMERS = Path("/proc/self/timers")


@pytest.fixture(autouse=True)
def handler_is_put_back():
    before = signal.getsignal(time_limit._SIGNAL)
    yield
    signal.signal(time_limit._SIGNAL, before)
    assert not timers()


def timers() -> list[str]:
    """The signals of the timers that this process has."""
    return [line for line in TIMERS.read_text().splitlines() if line.startswith("signal")]


def test_a_timed_wait_at_a_queue_takes_nothing_from_the_limit():
    """F19: each real-time signal has one owner, so the callback still gets TaskTimeout."""
    bound = TimeLimit(0.1)
    queue = SysvQueue.create()
    try:
        with contextlib.suppress(QueueEmpty):
            queue.receive(timeout=0.01)
        with pytest.raises(TaskTimeout), bound.running():
            with contextlib.suppress(QueueEmpty):
                queue.receive(timeout=0.01)
            threading.Event().wait(LOOK)  # until the signal's handler raises
    finally:
        queue.remove()


def test_a_limit_takes_nothing_from_a_timed_wait():
    """F19: the other way round; the wait ends at its own time limit."""
    bound = TimeLimit(LONG)
    queue = SysvQueue.create()
    try:
        with bound.running(), pytest.raises(QueueEmpty):
            queue.receive(timeout=0.01)
    finally:
        queue.remove()


def test_both_timers_run_in_the_block_only():
    bound = TimeLimit(LONG)
    with bound.running():
        assert len(timers()) == 2
    assert timers() == []
    with bound.running(soft=False):
        assert len(timers()) == 1
    with TimeLimit(None).running():
        assert timers() == []
    bound.stop()


def test_the_first_timer_of_a_process_is_ended_as_any_other():
    """D13: the kernel counts them from 0, and that one is the kill of the first attempt."""
    code = """
from pathlib import Path
from ipckit.server.tasks.time_limit import TimeLimit
with TimeLimit(1000.0).running():
    assert "signal" in Path("/proc/self/timers").read_text()
print(Path("/proc/self/timers").read_text())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=LOOK, check=True
    )
    assert done.stdout == "\n"


class Struck(Exception):
    """What a signal's handler raises, at one line of the module."""


def strike_at(line_number: int, block) -> bool:
    """Run block(); the exception comes before the n-th line of time_limit.py. False: it has fewer."""
    left = line_number

    def trace(frame, event, _arg):
        nonlocal left
        if frame.f_code.co_filename != time_limit.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Struck
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        block()
    except Struck:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("soft", [True, False])
def test_no_timer_is_left_wherever_an_exception_comes(soft):
    """F19: the kill timer is ended, too, if the exception comes before or after the block."""
    bound = TimeLimit(LONG)

    def block() -> None:
        with bound.running(soft=soft):
            pass

    line = 1
    while strike_at(line, block):
        bound.stop()  # as the code that runs an attempt does
        assert timers() == [], f"line {line}"
        line += 1
    assert line > 8


def test_an_attempt_whose_callback_raises_leaves_no_timer():
    bound = TimeLimit(LONG)
    with pytest.raises(ZeroDivisionError), bound.running():
        _ = 1 / 0
    assert timers() == []

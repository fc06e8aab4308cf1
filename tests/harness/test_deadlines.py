"""A deadline ends what does not get on, and nothing that only waits for the harness itself."""

from __future__ import annotations

import os
import signal
import time

import pytest

from ipckit.testing.processes.child import DONE, HELD, READY, YIELDED
from ipckit.testing.processes.crew import Blocked, Crew
from ipckit.testing.processes.shared_log import SharedLog

SECONDS = 0.2


@pytest.fixture
def crew():
    with Crew(SharedLog(2), SECONDS) as made:
        yield made


def test_a_held_member_is_released_though_its_deadline_is_over(crew):
    """The harness was late itself: one member is held, and the other waits for that one."""
    read, write = os.pipe()

    def first(child):
        child.report(HELD)
        child.wait()
        os.write(write, b"x")
        child.report(DONE)

    def second(child):
        child.report(READY)
        os.read(read, 1)
        child.report(DONE)

    held, waiting = crew.fork(0, first), crew.fork(1, second)
    crew.await_all(HELD, [held])
    crew.await_all(READY, [waiting])
    asleep(held, waiting)
    crew.deadline = time.monotonic() - 1
    crew.await_all(DONE)
    os.close(read)
    os.close(write)


def test_a_member_that_waits_for_one_without_a_turn_is_not_blocked(crew):
    def first(child):
        child.report(YIELDED)
        child.wait()
        child.report(DONE)

    def second(child):
        child.report(READY)
        signal.pause()

    without_turn, waiting = crew.fork(0, first), crew.fork(1, second)
    crew.await_all(YIELDED, [without_turn])
    crew.await_all(READY, [waiting])
    asleep(without_turn, waiting)
    crew.deadline = time.monotonic() - 1
    for _ in range(10):
        crew.step([waiting], 0.005)
    crew.wake(without_turn)
    crew.await_all(DONE, [without_turn])
    with pytest.raises(Blocked):
        crew.await_all(DONE, [waiting])


def spin():
    while True:
        pass


@pytest.mark.parametrize(
    "rest",
    [signal.pause, lambda: os.kill(os.getpid(), signal.SIGSTOP), spin],
    ids=["asleep", "stopped by itself", "spinning"],
)
def test_what_does_not_get_on_is_blocked(crew, rest):
    def body(child):
        child.report(READY)
        rest()

    member = crew.fork(0, body)
    crew.await_all(READY, [member])
    with pytest.raises(Blocked, match="process 0 makes no call"):
        crew.await_all(DONE, [member])


def asleep(*members):
    while any(member.state() != "S" for member in members):
        os.sched_yield()

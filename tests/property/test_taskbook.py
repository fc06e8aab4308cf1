"""The taskbook against a plain model: B1 to B3, and each task leaves exactly once."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ipckit.server.taskbook import Stage, Task, Taskbook

ATTEMPTS, DELAYS = 3, (0.0, 1.0, 5.0)


class Books(RuleBasedStateMachine):
    """A frame about a task may find it at any stage: messages are doubled after a death."""

    def __init__(self):
        super().__init__()
        self.book = Taskbook(ATTEMPTS, DELAYS)
        self.now = 0.0
        self.next_id = 1
        self.lanes: dict[int, list[int]] = {0: [], 1: []}  # ids in the order they will be sent
        self.sent: set[int] = set()
        self.delayed: dict[int, float] = {}
        self.tried: dict[int, int] = {}
        self.created: dict[int, float] = {}
        self.left: list[int] = []

    def task(self, stages="held sent delayed"):
        """Draw a task that is in the book."""
        held = [task_id for lane in self.lanes.values() for task_id in lane]
        here = {"held": held, "sent": self.sent, "delayed": self.delayed}
        found = {task_id for stage in stages.split() for task_id in here[stage]}
        return st.sampled_from(sorted(found))

    def take_out(self, task_id):
        """Take it out of the model, wherever it is."""
        for lane in self.lanes.values():
            if task_id in lane:
                lane.remove(task_id)
        self.sent.discard(task_id)
        self.delayed.pop(task_id, None)

    @rule(lane=st.sampled_from([0, 1]))
    def add(self, lane):
        task = Task(self.next_id, self.next_id, b"", -1, 0, lane, self.now)
        self.book.add(task)
        self.lanes[lane].append(task.id)
        self.enter(task)

    @rule(lane=st.sampled_from([0, 1]))
    def add_running(self, lane):
        task = Task(self.next_id, self.next_id, b"", -1, 0, lane, self.now)
        self.book.add_running(task)
        self.sent.add(task.id)
        self.enter(task)

    def enter(self, task):
        self.tried[task.id] = 0
        self.created[task.id] = self.now
        self.next_id += 1

    @rule(lane=st.sampled_from([0, 1]), room=st.integers(0, 4))
    def pump(self, lane, room):
        """B2."""
        taken = []

        def send(task):
            if len(taken) == room:
                return False
            taken.append(task.id)
            return True

        if lane not in self.book.lanes():
            assert not self.lanes[lane]
            return
        done = self.book.pump_lane(lane, send)
        assert taken == self.lanes[lane][:room]
        assert done == (len(self.lanes[lane]) <= room)
        self.sent |= set(taken)
        del self.lanes[lane][: len(taken)]

    @precondition(lambda self: any(self.lanes.values()))
    @rule(data=st.data())
    def the_road_raises(self, data):
        """Then nothing was sent, and the task is still the next one."""

        def send(task):
            raise OSError

        lane = data.draw(st.sampled_from([lane for lane, ids in self.lanes.items() if ids]))
        with pytest.raises(OSError):
            self.book.pump_lane(lane, send)

    @precondition(lambda self: len(self.book))
    @rule(data=st.data())
    def result(self, data):
        task_id = data.draw(self.task())
        assert self.book.done(task_id).id == task_id
        self.take_out(task_id)
        self.left.append(task_id)

    @precondition(lambda self: self.left)
    @rule(data=st.data())
    def a_result_too_late(self, data):
        task_id = data.draw(st.sampled_from(self.left))
        assert self.book.done(task_id) is None and self.book.get(task_id) is None

    @precondition(lambda self: len(self.book))
    @rule(data=st.data(), jitter=st.floats(-1, 1))
    def failure(self, data, jitter):
        task_id = data.draw(self.task())
        self.take_out(task_id)
        self.tried[task_id] += 1
        task = self.book.get(task_id)
        due = self.book.failed(task, self.tried[task_id], self.now, jitter)
        assert task.attempts == self.tried[task_id]
        if self.tried[task_id] == ATTEMPTS:
            assert due is None
            self.left.append(task_id)
            return
        delay = DELAYS[self.tried[task_id] - 1]
        assert due == self.now + delay * (1 + 0.2 * jitter)
        assert task.again
        self.delayed[task_id] = due

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def death(self, data):
        """The message may be lost: it goes to the end of its lane."""
        task_id = data.draw(self.task("sent"))
        task = self.book.get(task_id)
        self.book.send_again(task)
        assert task.again
        self.take_out(task_id)
        self.lanes[task.lane].append(task_id)

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds):
        self.now += seconds
        due = sorted((when, task_id) for task_id, when in self.delayed.items() if when <= self.now)
        assert self.book.wake_delayed(self.now) == len(due)
        for _, task_id in due:
            del self.delayed[task_id]
            self.lanes[self.book.get(task_id).lane].append(task_id)

    @invariant()
    def each_task_is_in_one_place(self):
        """B1."""
        held = {task_id for lane in self.lanes.values() for task_id in lane}
        assert len(self.book) == len(held) + len(self.sent) + len(self.delayed)
        stages = {task.id: task.stage for task in self.book}
        assert stages == (
            dict.fromkeys(held, Stage.HELD)
            | dict.fromkeys(self.sent, Stage.SENT)
            | dict.fromkeys(self.delayed, Stage.DELAYED)
        )
        assert len(self.left) == len(set(self.left))
        assert {*stages, *self.left} == set(self.tried)
        assert {task.id for task in self.book.sent()} == self.sent
        due = self.book.next_due()
        assert due == (min(self.delayed.values()) if self.delayed else None)
        assert self.book.oldest() == (self.created[min(stages)] if stages else None)


TestBooks = Books.TestCase


@given(st.integers(1, 300), st.lists(st.floats(0, 100), min_size=1, max_size=4))
def test_the_last_delay_repeats(attempts, delays):
    book = Taskbook(255, tuple(delays))
    task = Task(1, 0, b"", -1, 0, 0, 0.0)
    book.add_running(task)
    due = book.failed(task, attempts, 0.0, 0.0)
    if attempts >= 255:
        assert due is None
    else:
        assert due == delays[min(attempts, len(delays)) - 1]

"""The taskbook against a plain model: B1 to B3, and each task leaves exactly once."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ipckit.server.taskbook import Stage, Task, Taskbook

ATTEMPTS, DELAYS = 3, (0.0, 1.0, 5.0)


class Books(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.book = Taskbook(ATTEMPTS, DELAYS)
        self.now = 0.0
        self.next_id = 1
        self.lanes: dict[int, list[int]] = {0: [], 1: []}  # ids in the order they will be sent
        self.sent: set[int] = set()
        self.delayed: dict[int, float] = {}
        self.tried: dict[int, int] = {}
        self.left: list[int] = []

    @rule(lane=st.sampled_from([0, 1]))
    def add(self, lane):
        task = Task(self.next_id, self.next_id, b"", -1, 0, lane, self.now)
        self.book.add(task)
        self.lanes[lane].append(task.id)
        self.tried[task.id] = 0
        self.next_id += 1

    @rule(lane=st.sampled_from([0, 1]), room=st.integers(0, 4))
    def pump(self, lane, room):
        taken = []

        def send(task):
            if len(taken) == room:
                return False
            taken.append(task.id)
            return True

        if not self.tried:
            return
        if lane in self.book.lanes():
            done = self.book.pump_lane(lane, send)
            assert taken == self.lanes[lane][:room]
            assert done == (len(self.lanes[lane]) <= room)
        self.sent |= set(taken)
        del self.lanes[lane][: len(taken)]

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def result(self, data):
        task_id = data.draw(st.sampled_from(sorted(self.sent)))
        assert self.book.done(task_id).id == task_id
        self.sent.remove(task_id)
        self.left.append(task_id)
        assert self.book.done(task_id) is None, "a second result finds nothing"

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), jitter=st.floats(-1, 1))
    def failure(self, data, jitter):
        task_id = data.draw(st.sampled_from(sorted(self.sent)))
        self.sent.remove(task_id)
        self.tried[task_id] += 1
        due = self.book.failed(self.book.get(task_id), self.tried[task_id], self.now, jitter)
        if self.tried[task_id] == ATTEMPTS:
            assert due is None
            self.left.append(task_id)
            return
        delay = DELAYS[self.tried[task_id] - 1]
        assert self.now + 0.8 * delay <= due <= self.now + 1.2 * delay
        self.delayed[task_id] = due

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def death(self, data):
        """The message may be lost: it goes to the end of its lane."""
        task_id = data.draw(st.sampled_from(sorted(self.sent)))
        task = self.book.get(task_id)
        self.book.send_again(task)
        assert task.again
        self.sent.remove(task_id)
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
        assert (self.book.oldest() is None) == (len(self.book) == 0)


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

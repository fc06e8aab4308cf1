"""Machines of the queues in shared memory: SharedQueue and ObjectQueue."""

from __future__ import annotations

import contextlib
from queue import Empty, Full

from deadlines import LOOK
from harness.machines import SCALE, SMALL, Primitive

from ipckit import QueueEmpty, SharedQueue, WaitTimeout
from ipckit.queue import ObjectQueue
from ipckit.queue.shared import Lease
from ipckit.testing import Kill, Stop, invariant, kill_point, op
from ipckit.testing.histories.values import Raised
from ipckit.testing.models import FifoQueue


def taken_from(values, value):
    """The values without one that is this."""
    place = values.index(value)
    return values[:place] + values[place + 1 :]


class Shared(Primitive):
    """Bodies inside a record and in pages, of processes that are stopped and go on."""

    examples = 150 * SCALE
    faults = (Stop(),)
    specification = FifoQueue()

    def setup(self):
        self.queue = SharedQueue(max_messages=16, max_bytes=16 * 4096)

    def teardown(self):
        assert self.queue.verify() == []
        self.queue.close()

    def send(self, value):
        self.queue.send_nowait(bytes([value]) * (1 + value % 2 * 300))

    def receive(self):
        body = self.queue.receive_nowait().body
        assert len(set(body)) == 1
        return body[0]

    @op(value=SMALL)
    def put(self, value):
        self.send(value)

    @op()
    def get(self):
        return self.receive()


class SharedKilled(Shared):
    """What a killed receiver had comes back, later than it would have come; nothing is lost."""

    examples = 150 * SCALE
    faults = (Kill(), Stop())
    specification = None

    def model(self):
        return (), ()  # what waits; what killed receivers had

    @op(value=SMALL)
    def put(self, value):
        self.send(value)

    @op()
    def get(self):
        return self.receive()

    @put.model
    def _(self, state, value):
        waiting, held = state
        return ((*waiting, value), held), None

    @get.model
    def _(self, state):
        waiting, held = state
        answers = [((waiting, taken_from(held, value)), value) for value in set(held)]
        if not waiting:
            return [*answers, (state, Raised.of(Empty()))]
        first, rest = waiting[0], waiting[1:]
        # No completed get has this result: only one that was killed can have left its message.
        left = (rest, tuple(sorted((*held, first)))), "killed"
        return [*answers, ((rest, held), first), left]

    @invariant(when="quiet")
    def nothing_is_lost(self, history):
        left = self.queue.receive_many(16, timeout=0) if len(self.queue) else []
        for message in left:
            self.queue.send_nowait(message.body)
        put, got = history.completed("put"), history.completed("get")
        assert put - got - history.cut("get") <= len(left) <= put + history.cut("put") - got


class SharedHeld(SharedKilled):
    """The same, held or killed between any two instructions of the C core."""

    engine = "ptrace"
    libraries = ("_shared_queue",)
    examples = 50 * SCALE
    runs = 2
    faults = (Kill(),)
    operations = 2


class SharedHeldSmall(SharedHeld):
    """The same with one record and one page, which are used again and again."""

    def setup(self):
        self.queue = SharedQueue(max_messages=1, max_bytes=4096)

    @op(value=SMALL)
    def put(self, value):
        self.send(value)

    @put.model
    def _(self, state, value):
        waiting, held = state  # what another process holds takes room
        return [(((*waiting, value), held), None), (state, Raised.of(Full()))]


class SharedStepped(SharedKilled):
    """The same, one process at a time."""

    engine = "stepped"
    examples = 100 * SCALE
    faults = (Kill(),)


class Leases(Primitive):
    """Messages that are leased, and are acknowledged or return to their old places."""

    examples = 150 * SCALE
    faults = (Stop(),)

    def setup(self):
        self.queue = SharedQueue(max_messages=16, max_bytes=16 * 4096, max_attempts=None)
        self.mine = []  # of this process

    def teardown(self):
        assert self.queue.verify() == []
        self.queue.close()

    def model(self):
        return (
            (),
            (),
            0,
        )  # turn, value and attempt of what waits, and of what is leased; the next turn

    @op(value=SMALL)
    def put(self, value):
        self.queue.send_nowait(bytes([value]) * (1 + value % 2 * 300))

    @put.model
    def _(self, state, value):
        waiting, leased, turn = state
        return ((*waiting, (turn, value, 0)), leased, turn + 1), None

    @op()
    def lease(self):
        job = self.queue.lease(timeout=0)
        self.mine.append(job)
        assert len(set(job.body)) == 1
        return job.body[0], job.attempt

    @lease.model
    def _(self, state):
        waiting, leased, turn = state
        if not waiting:
            raise Empty
        place, value, attempt = waiting[0]
        return (waiting[1:], (*leased, (place, value, attempt + 1)), turn), (value, attempt + 1)

    def end_oldest(self, end):
        """End the oldest lease of this process; its value and attempt, None: there is none."""
        if not self.mine:
            return None
        job = self.mine.pop(0)
        found = job.body[0], job.attempt
        end(job)
        return found

    @op()
    def acknowledge(self):
        return self.end_oldest(Lease.acknowledge)

    @acknowledge.model
    def _(self, state):
        waiting, leased, turn = state
        return [(state, None)] + [
            ((waiting, taken_from(leased, each), turn), each[1:]) for each in leased
        ]

    @op()
    def give_back(self):
        return self.end_oldest(Lease.give_back)

    @give_back.model
    def _(self, state):
        waiting, leased, turn = state
        return [(state, None)] + [
            ((tuple(sorted((*waiting, each))), taken_from(leased, each), turn), each[1:])
            for each in leased
        ]


class LeasesHeld(Leases):
    """The same, held between any two instructions of the C core."""

    engine = "ptrace"
    libraries = ("_shared_queue",)
    examples = 50 * SCALE
    runs = 2
    faults = ()
    operations = 3


LEFT = 2, 3
"""Of another process, which ended before a run of LeasesKilled."""


class LeasesKilled(SharedKilled):
    """What a killed process had leased comes back: nothing is lost."""

    examples = 50 * SCALE
    faults = (Kill("leased"), Stop())

    def setup(self):
        super().setup()
        for value in LEFT:  # so that most calls of get() come to the point
            self.send(value)

    def model(self):
        return LEFT, ()

    def receive(self):
        with self.queue.lease(timeout=0) as job:
            body = bytes(job.body)
            kill_point("leased")
        assert len(set(body)) == 1
        return body[0]

    @invariant(when="quiet")
    def nothing_is_lost(self, history):
        left = 0
        with contextlib.suppress(QueueEmpty):
            while True:
                self.receive()
                left += 1
        assert left == len(LEFT) + history.completed("put") - history.completed("get")


class Objects(Primitive):
    """Objects that are finished, and when join() finds that all of them are."""

    examples = 150 * SCALE
    faults = (Stop(),)

    def setup(self):
        self.queue = ObjectQueue(max_messages=16, max_bytes=16 * 4096)
        self.mine = 0  # of this process: objects that it got and did not finish

    def teardown(self):
        assert self.queue.verify() == []
        self.queue.close()

    def model(self):
        return (), 0  # what waits; how many are not finished

    @op(value=SMALL)
    def put(self, value):
        self.queue.put_nowait("x" * 300 if value == 3 else value)

    @put.model
    def _(self, state, value):
        waiting, unfinished = state
        return ((*waiting, value), unfinished + 1), None

    @op()
    def get(self):
        value = self.queue.get_nowait()
        self.mine += 1
        return 3 if value == "x" * 300 else value

    @get.model
    def _(self, state):
        waiting, unfinished = state
        if not waiting:
            raise Empty
        return (waiting[1:], unfinished), waiting[0]

    @op()
    def finish(self):
        """None: this process had none to finish."""
        if self.mine:
            self.queue.task_done()
            self.mine -= 1
            return True
        return None

    @finish.model
    def _(self, state):
        waiting, unfinished = state
        done = [((waiting, unfinished - 1), True)] if unfinished > len(waiting) else []
        return [(state, None), *done]

    @op()
    def all_finished(self):
        try:
            self.queue.join(timeout=0)
        except WaitTimeout:
            return False
        return True

    @all_finished.model
    def _(self, state):
        return state, state[1] == 0


class ObjectsKilled(SharedKilled):
    """What a killed process had not finished is given up, so join() returns."""

    examples = 150 * SCALE

    def setup(self):
        self.queue = ObjectQueue(max_messages=16, max_bytes=16 * 4096)

    def send(self, value):
        self.queue.put_nowait([value] * (1 + value % 2 * 300))

    def receive(self):
        """And finish it."""
        value, *same = self.queue.get_nowait()
        assert set(same) <= {value}
        self.queue.task_done()
        return value

    @invariant(when="quiet")
    def nothing_is_lost(self, history):
        left = 0
        while self.queue.qsize():
            self.receive()
            left += 1
        put, got = history.completed("put"), history.completed("get")
        assert put - got - history.cut("get") <= left <= put + history.cut("put") - got
        self.queue.join(timeout=LOOK)


class ObjectsStepped(ObjectsKilled):
    """The same, one process at a time."""

    engine = "stepped"
    examples = 100 * SCALE
    faults = (Kill(),)


MACHINES = [
    Shared, SharedKilled, SharedHeld, SharedHeldSmall, SharedStepped, Leases, LeasesHeld, LeasesKilled, Objects, ObjectsKilled, ObjectsStepped,
]  # fmt: skip

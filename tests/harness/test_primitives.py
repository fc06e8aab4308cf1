"""The harness on ipckit's own primitives, with kills and stops: 5,000 programs, none may fail.

IPCKIT_SOAK=1 draws twenty times as many.
"""

from __future__ import annotations

import os
from queue import Empty

import pytest
from deadlines import LOOK
from hypothesis import strategies as st

from ipckit import (
    Atomic,
    Channel,
    Int,
    Lock,
    PosixQueue,
    SharedQueue,
    Str,
    SysvQueue,
    Table,
    WaitTimeout,
)
from ipckit.queue import ObjectQueue
from ipckit.testing import Kill, ProcessMachine, Stop, invariant, op
from ipckit.testing.histories.values import Raised
from ipckit.testing.models import Counter, FifoQueue
from ipckit.testing.search.search import run_machine

SCALE = 20 if os.environ.get("IPCKIT_SOAK") == "1" else 1
SMALL = st.integers(0, 3)


def taken_from(values, value):
    """The values without one that is this."""
    place = values.index(value)
    return values[:place] + values[place + 1 :]


class Primitive(ProcessMachine):
    """A run costs its forks: two processes where three, and one for calls after, show no more."""

    runs = 1
    operations = 4
    processes = 2
    after = 0


class Queue(Primitive):
    """Puts and gets of the kernel's queues; a killed get may have taken its message."""

    faults = (Kill(),)
    specification = FifoQueue()

    def teardown(self):
        self.queue.remove()
        self.queue.close()

    @op(value=SMALL)
    def put(self, value):
        self.queue.send_nowait(bytes([value]))

    @op()
    def get(self):
        return self.queue.receive_nowait().body[0]


class Sysv(Queue):
    examples = 800 * SCALE

    def setup(self):
        self.queue = SysvQueue.create()


class Posix(Queue):
    examples = 700 * SCALE
    specification = FifoQueue(10)  # its usual number of messages

    def setup(self):
        self.queue = PosixQueue.create(f"/ipckit.harness.{os.getpid()}", max_message_size=1)


class Shared(Queue):
    """Bodies inside a record and in pages, of processes that are stopped and go on."""

    examples = 150 * SCALE
    faults = (Stop(),)

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


class SharedStepped(SharedKilled):
    """The same, one process at a time."""

    engine = "stepped"
    examples = 100 * SCALE
    faults = (Kill(),)


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


class Pair(Primitive):
    """A channel whose ends are taken in turn, under a lock each; nobody is killed within a frame."""

    examples = 400 * SCALE
    specification = FifoQueue(empty=WaitTimeout)

    def setup(self):
        self.sending, self.receiving = Lock(), Lock()
        self.one, self.other = Channel.pair()

    def teardown(self):
        self.one.close()
        self.other.close()

    @op(value=SMALL)
    def put(self, value):
        with self.sending:
            self.one.send_nowait(bytes([value]))

    @op()
    def get(self):
        with self.receiving:
            return self.other.receive_nowait().body[0]


class Rows(Primitive):
    """Rows of a table: whole, the old or the new one, whoever is killed or stopped."""

    examples = 500 * SCALE
    processes = 3
    after = 1
    partition = "key"
    faults = (Kill(), Stop())
    keys = st.sampled_from(["a", "b"])

    def setup(self):
        self.table = Table(2, columns={"n": Int(), "s": Str(16)})

    def teardown(self):
        assert self.table.verify() == []
        self.table.close()

    def model(self):
        return None

    @op(key=keys)
    def get(self, key):
        row = self.table.get(key)
        return row and (row["n"], row["s"])

    @get.model
    def _(self, row, key):
        return row, row

    @op(key=keys, n=SMALL)
    def put(self, key, n):
        self.table.set(key, {"n": n, "s": "x" * n})

    @put.model
    def _(self, row, key, n):
        return (n, "x" * n), None

    @op(key=keys)
    def incr(self, key):
        return self.table.incr(key, "n")

    @incr.model
    def _(self, row, key):
        n, s = row or (0, "")
        return (n + 1, s), n + 1

    @op(key=keys)
    def delete(self, key):
        return self.table.delete(key)

    @delete.model
    def _(self, row, key):
        return None, row is not None

    @op(key=keys)
    def write_together(self, key):
        """Read, change and commit both columns under the row's lock."""
        with self.table.lock(key) as row:
            row["n"] += 1
            row["s"] = "y" * row["n"]
            return row["n"]

    @write_together.model
    def _(self, row, key):
        n = (row or (0, ""))[0] + 1
        return (n, "y" * n), n


class RowsHeld(Rows):
    """The same, held or killed between any two instructions of the C core."""

    engine = "ptrace"
    libraries = ("_rows", "_ipk")
    examples = 60 * SCALE
    runs = 2
    faults = (Kill(),)
    processes = 2
    operations = 2


class Locked(Primitive):
    """A counter in two halves under a Lock: a holder's death is reported, and blocks nobody."""

    examples = 500 * SCALE
    processes = 3
    after = 1
    faults = (Kill(), Stop())

    def setup(self):
        self.lock = Lock()
        self.one, self.two = Atomic(), Atomic()

    def model(self):
        return 0

    @op()
    def bump(self):
        with self.lock:
            if self.lock.recovered:  # its last holder may have died between the halves
                self.two.set(self.one.get())
            self.one.set(self.one.get() + 1)
            self.two.set(self.two.get() + 1)
            return self.two.get()

    @bump.model
    def _(self, state):
        return state + 1, state + 1

    @invariant(when="quiet")
    def halves_agree(self, history):
        with self.lock:
            assert self.lock.recovered or self.one.get() == self.two.get()
        done = history.completed("bump")
        assert done <= self.one.get() <= done + history.cut("bump")


class Numbers(Primitive):
    """An atomic number."""

    examples = 750 * SCALE
    faults = (Kill(), Stop())
    specification = Counter()

    def setup(self):
        self.number = Atomic()

    @op(by=SMALL)
    def add(self, by):
        return self.number.add(by)

    @op(by=SMALL)
    def sub(self, by):
        return self.number.sub(by)

    @op()
    def get(self):
        return self.number.get()

    @op(old=SMALL, new=SMALL)
    def exchange(self, old, new):
        return self.number.compare_and_set(old, new)

    @exchange.model
    def _(self, state, old, new):
        return (new, True) if state == old else (state, False)


class LockedStepped(Locked):
    """The same, one process at a time."""

    engine = "stepped"
    examples = 250 * SCALE
    faults = (Kill(),)


class SysvStepped(Sysv):
    """The same, one process at a time."""

    engine = "stepped"
    examples = 190 * SCALE


MACHINES = [
    Sysv, Posix, Shared, SharedKilled, SharedHeld, SharedStepped, Objects, ObjectsKilled, ObjectsStepped, Pair, Rows, RowsHeld, Locked, Numbers, LockedStepped, SysvStepped,
]  # fmt: skip


def test_the_machines_draw_5000_programs():
    assert sum(machine.examples for machine in MACHINES) == 5000 * SCALE


@pytest.mark.parametrize("machine", MACHINES, ids=lambda each: each.__name__)
@pytest.mark.timeout(7200)
def test_a_primitive_is_what_its_model_says(machine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a failure would be saved
    run_machine(machine)

"""The harness on ipckit's own primitives, with kills and stops: 5,000 programs, none may fail.

IPCKIT_SOAK=1 draws twenty times as many.
"""

from __future__ import annotations

import os

import pytest
from harness import shared_queues
from harness.machines import SCALE, SMALL, Primitive
from hypothesis import strategies as st

from ipckit import (
    Atomic,
    Channel,
    Int,
    Lock,
    PosixQueue,
    Str,
    SysvQueue,
    Table,
    WaitTimeout,
)
from ipckit.testing import Kill, Stop, invariant, op
from ipckit.testing.models import Counter, FifoQueue
from ipckit.testing.search.search import run_machine


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
    examples = 650 * SCALE

    def setup(self):
        self.queue = SysvQueue.create()


class Posix(Queue):
    examples = 700 * SCALE
    specification = FifoQueue(10)  # its usual number of messages

    def setup(self):
        self.queue = PosixQueue.create(f"/ipckit.harness.{os.getpid()}", max_message_size=1)


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

    examples = 600 * SCALE
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
    Sysv, Posix, Pair, Rows, RowsHeld, Locked, Numbers, LockedStepped, SysvStepped, *shared_queues.MACHINES,
]  # fmt: skip


def test_the_machines_draw_5000_programs():
    assert sum(machine.examples for machine in MACHINES) == 5000 * SCALE


@pytest.mark.parametrize("machine", MACHINES, ids=lambda each: each.__name__)
@pytest.mark.timeout(7200)
def test_a_primitive_is_what_its_model_says(machine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a failure would be saved
    run_machine(machine)

"""Objects in shared memory with one classic bug each, in Python."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import queue
import time

from hypothesis import strategies as st

from ipckit.testing import Kill, ProcessMachine, kill_point, op
from ipckit.testing.models import Counter, FifoQueue, Lock, Register


class Seeded(ProcessMachine):
    """Shared bytes, and a file to lock."""

    kind = "not linearizable"  # what the failure must be
    processes = 3
    operations = 3
    examples = 400

    def setup(self):
        self.memory = mmap.mmap(-1, mmap.PAGESIZE)
        self.file = os.memfd_create("lock")

    def teardown(self):
        self.memory.close()
        os.close(self.file)

    @contextlib.contextmanager
    def locked(self):
        with open(f"/proc/self/fd/{self.file}", "rb") as own:  # a description of its own
            fcntl.flock(own, fcntl.LOCK_EX)
            yield


class NonAtomicIncrement(Seeded):
    specification = Counter()

    @op()
    def add(self):
        self.memory[0] += 1
        return self.memory[0]


class ReadOutsideTheLock(Seeded):
    engine = "stepped"
    specification = Counter()

    @op()
    def add(self):
        value = self.memory[0]
        with self.locked():
            self.memory[0] = value + 1
        return value + 1


class LockWithoutOwner(Seeded):
    specification = Lock()

    @op(owner=st.integers(1, 3))
    def acquire(self, owner):
        with self.locked():
            free = self.memory[0] == 0
            self.memory[0] = 1
            return free

    @op(owner=st.integers(1, 3))
    def release(self, owner):
        with self.locked():
            held = self.memory[0] == 1
            self.memory[0] = 0
            return held


class UnderALock(Seeded):
    """A counter under a lock of its own; `may_take` says when."""

    specification = Counter()

    def may_take(self):
        raise NotImplementedError

    @op()
    def add(self):
        until = time.monotonic() + 1
        while time.monotonic() < until:
            with self.locked():
                if self.memory[0] == 0 or self.may_take():
                    self.memory[0] = 1
                    self.memory[1] = os.getpid() & 0xFF
                    self.memory[8:16] = time.monotonic_ns().to_bytes(8, "little")
                    break
        value = self.memory[2]
        kill_point("inside")
        self.memory[2] = value + 1
        self.memory[0] = 0
        return value + 1


class StealByPid(UnderALock):
    """The pid is kept in a byte, so living holders look dead."""

    def may_take(self):
        try:
            os.kill(self.memory[1] | 0x400000, 0)  # above every pid
        except ProcessLookupError:
            return True
        return False


class StealByTime(UnderALock):
    """A holder that takes 50 us is taken for dead."""

    def may_take(self):
        since = int.from_bytes(self.memory[8:16], "little")
        return time.monotonic_ns() - since > 50_000


class LostWakeUp(Seeded):
    """Two meet; the first one looks whether it is alone, then goes to sleep."""

    kind = "blocked"
    engine = "stepped"
    processes = 2
    operations = 1
    before = after = 0
    deadline = 0.5

    def setup(self):
        super().setup()
        self.bell = os.eventfd(0)

    def teardown(self):
        super().teardown()
        os.close(self.bell)

    def model(self):
        return None

    @op()
    def meet(self):
        with self.locked():
            self.memory[0] += 1
            first = self.memory[0] == 1
        if first:
            self.memory[1] = 1  # asleep, from here on
            os.eventfd_read(self.bell)
        elif self.memory[1]:
            os.eventfd_write(self.bell, 1)

    @meet.model
    def _(self, state):
        return state, None


class DoubleDelivery(Seeded):
    """A get reads the head, then moves it."""

    specification = FifoQueue()
    engine = "stepped"

    @op(value=st.integers(1, 9))
    def put(self, value):
        with self.locked():
            self.memory[16 + self.memory[1]] = value
            self.memory[1] += 1

    @op()
    def get(self):
        head = self.memory[0]
        if head == self.memory[1]:
            raise queue.Empty
        self.memory[0] = head + 1
        return self.memory[16 + head]


class LostMessageAtDeath(DoubleDelivery):
    """A put makes room, then fills it; a death between the two leaves a message of nothing."""

    engine = "real"
    faults = (Kill(),)

    @op(value=st.integers(1, 9))
    def put(self, value):
        with self.locked():
            self.memory[1] += 1
            kill_point("counted")
            self.memory[15 + self.memory[1]] = value

    @op()
    def get(self):
        with self.locked():
            if self.memory[0] == self.memory[1]:
                raise queue.Empty
            self.memory[0] += 1
            return self.memory[15 + self.memory[0]]


class ResurrectedDelete(Seeded):
    """An update writes back the whole row that it read, also when it is deleted by then."""

    engine = "stepped"

    def model(self):
        return None

    @op(value=st.integers(1, 3))
    def create(self, value):
        self.memory[0:2] = bytes([1, value])

    @create.model
    def _(self, row, value):
        return value, None

    @op(value=st.integers(1, 3))
    def update(self, value):
        live, _ = self.memory[0:2]
        if not live:
            return False
        self.memory[0:2] = bytes([1, value])
        return True

    @update.model
    def _(self, row, value):
        return (row and value), row is not None

    @op()
    def delete(self):
        with self.locked():
            was = self.memory[0]
            self.memory[0] = 0
            return bool(was)

    @delete.model
    def _(self, row):
        return None, row is not None

    @op()
    def get(self):
        live, value = self.memory[0:2]
        return value if live else None

    @get.model
    def _(self, row):
        return row, row


class StaleCache(Seeded):
    """A process keeps what it has read, and never asks again."""

    specification = Register(0)

    def setup(self):
        super().setup()
        self.cache = None

    @op()
    def read(self):
        if self.cache is None:
            self.cache = self.memory[0]
        return self.cache

    @op(value=st.integers(0, 3))
    def write(self, value):
        self.memory[0] = self.cache = value


class TornString(Seeded):
    """Two halves, one after the other."""

    specification = Register("\0\0")

    @op()
    def read(self):
        return self.memory[0:2].decode()

    @op(value=st.sampled_from(["aa", "bb"]))
    def write(self, value):
        for at, letter in enumerate(value.encode()):
            self.memory[at] = letter


class LeakOnKill(Seeded):
    """A pool of one place, which a killed process keeps for ever."""

    faults = (Kill(),)

    def model(self):
        return None

    @op()
    def use(self):
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            with self.locked():
                if self.memory[0] == 0:
                    self.memory[0] = 1
                    break
        else:
            return False
        kill_point("in use")
        self.memory[0] = 0
        return True

    @use.model
    def _(self, state):
        return state, True


MACHINES = [
    NonAtomicIncrement, ReadOutsideTheLock, LockWithoutOwner, StealByPid, StealByTime, LostWakeUp,
    DoubleDelivery, LostMessageAtDeath, ResurrectedDelete, StaleCache, TornString, LeakOnKill,
]  # fmt: skip

"""Any mix of calls gets the same answers from a real queue and from its reference.

One machine for System V against MemoryQueue, one for POSIX against MemoryPriorityQueue.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ipckit.errors import IPCError
from ipckit.queue import MemoryPriorityQueue, MemoryQueue, PosixQueue, SysvQueue

TYPES = st.integers(1, 4) | st.sampled_from([2**31, 2**63 - 1])
CHOICES = st.integers(-5, 5) | st.sampled_from([2**63 - 1, -(2**63 - 1), 2**63])
BODIES = st.binary(max_size=8) | st.integers(0, 9000).map(lambda size: b"x" * size)
SIZES = st.none() | st.integers(-1, 10)


def answer(call):
    """What a call returns, or the class it raises; texts and numbers of errors may differ."""
    try:
        return call()
    except (IPCError, ValueError, TypeError) as exc:
        return type(exc)


class Agree(RuleBasedStateMachine):
    """Both queues, and what is said of them."""

    def both(self, call):
        real, reference = (answer(lambda queue=queue: call(queue)) for queue in self.queues)
        assert real == reference

    @invariant()
    def same_length(self):
        self.both(len)

    def teardown(self):
        answer(self.queues[0].remove)
        for queue in self.queues:
            queue.close()


class SysvAgrees(Agree):
    def __init__(self):
        super().__init__()
        self.queues = [SysvQueue.create(max_bytes=2000), MemoryQueue(max_bytes=2000)]

    @rule(body=BODIES, type=TYPES | st.integers(-1, 0))
    def send(self, body, type):
        self.both(lambda queue: queue.send_nowait(body, type=type))

    @rule(body=BODIES, type=TYPES)
    def send_once(self, body, type):
        self.both(lambda queue: queue.send(body, type=type, timeout=0))

    @rule(type=CHOICES, exclude=st.booleans(), max_size=SIZES, truncate=st.booleans())
    def receive(self, type, exclude, max_size, truncate):
        choice = {"type": type, "exclude": exclude, "max_size": max_size, "truncate": truncate}
        self.both(lambda queue: queue.receive_nowait(**choice))

    @rule(type=CHOICES)
    def receive_once(self, type):
        self.both(lambda queue: queue.receive(type=type, timeout=0))

    @rule(max_bytes=st.none() | st.integers(-1, 3000), mode=st.none() | st.integers(0o600, 0o1001))
    def set(self, max_bytes, mode):
        self.both(lambda queue: queue.set(max_bytes=max_bytes, mode=mode))

    @rule()
    def statistics(self):
        times = ("sent_at", "received_at", "changed_at")

        def without_times(queue):
            now = asdict(queue.statistics())
            return {name: bool(now[name]) if name in times else now[name] for name in now}

        self.both(without_times)

    @rule(close=st.integers(0, 20).map(lambda n: n == 0))
    def end(self, close):
        if close:
            self.both(lambda queue: queue.remove())


class PosixAgrees(Agree):
    def __init__(self):
        super().__init__()
        name = f"/ipckit-agree-{uuid.uuid4().hex}"
        self.queues = [
            PosixQueue.create(name, max_messages=4, max_message_size=100),
            MemoryPriorityQueue(max_messages=4, max_message_size=100),
        ]

    @rule(body=st.binary(max_size=102), priority=st.integers(-1, 3) | st.integers(32766, 32768))
    def send(self, body, priority):
        self.both(lambda queue: queue.send_nowait(body, priority=priority))

    @rule(body=st.binary(max_size=5), priority=st.integers(0, 3))
    def send_once(self, body, priority):
        self.both(lambda queue: queue.send(body, priority=priority, timeout=0))

    @rule()
    def receive(self):
        self.both(lambda queue: queue.receive_nowait())

    @rule()
    def receive_once(self):
        self.both(lambda queue: queue.receive(timeout=0))

    @rule(unlink=st.integers(0, 20).map(lambda n: n == 0))
    def end(self, unlink):
        if unlink:
            self.both(lambda queue: queue.unlink())


TestSysvAgrees = SysvAgrees.TestCase
TestPosixAgrees = PosixAgrees.TestCase
TestSysvAgrees.settings = TestPosixAgrees.settings = settings(
    max_examples=150, stateful_step_count=40
)

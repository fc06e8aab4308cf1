"""Any mix of calls gets the same answers from a shared queue and from its reference in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ipckit.errors import IPCError
from ipckit.queue import SharedQueue

PAGE = 4096
INLINE = 192
MESSAGES, PAGES, ATTEMPTS = 5, 6, 3

SIZES = st.sampled_from(
    [0, 1, INLINE, INLINE + 1, PAGE, PAGE + 1, 3 * PAGE, 6 * PAGE, 6 * PAGE + 1]
)


@dataclass
class Entry:
    body: bytes
    turn: int
    attempts: int = 0


@dataclass
class Reference:
    """What docs/contracts/shared-queue.md says, as lists."""

    waiting: list[Entry] = field(default_factory=list)
    held: list[Entry] = field(default_factory=list)
    dead: list[Entry] = field(default_factory=list)
    reserved: list[int] = field(default_factory=list)
    turns: int = 0

    def everything(self) -> list[int]:
        entries = self.waiting + self.held + self.dead
        return [len(entry.body) for entry in entries] + self.reserved

    def free_pages(self) -> int:
        return PAGES - sum(pages_of(size) for size in self.everything())

    def has_room(self, size: int) -> bool:
        return len(self.everything()) < MESSAGES and pages_of(size) <= self.free_pages()

    def add(self, body: bytes) -> None:
        self.turns += 1
        self.waiting.append(Entry(body, self.turns))

    def take(self) -> Entry:
        entry = self.waiting.pop(0)
        entry.attempts += 1
        return entry

    def put_back(self, entry: Entry) -> None:
        kept = self.dead if entry.attempts >= ATTEMPTS else self.waiting
        kept.append(entry)
        kept.sort(key=lambda each: each.turn)


def pages_of(size: int) -> int:
    return 0 if size <= INLINE else -(-size // PAGE)


def answer(call: Callable[[], object]) -> object:
    try:
        return call()
    except (IPCError, ValueError) as exc:
        return type(exc).__name__


class SharedQueueAgrees(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queue = SharedQueue(MESSAGES, PAGES * PAGE, max_attempts=ATTEMPTS)
        self.reference = Reference()
        self.leases: list[tuple[object, Entry]] = []
        self.spaces: list[tuple[object, int, bytes]] = []
        self.count = 0

    def body(self, size: int) -> bytes:
        self.count += 1
        return (b"%d." % self.count * size)[:size]

    def expected_of_a_send(self, size: int) -> object:
        if pages_of(size) > PAGES:
            return "MessageTooLarge"
        return None if self.reference.has_room(size) else "QueueFull"

    @rule(size=SIZES)
    def send(self, size):
        body, expected = self.body(size), self.expected_of_a_send(size)
        assert answer(lambda: self.queue.send_nowait(body)) == expected
        if expected is None:
            self.reference.add(body)

    @rule(sizes=st.lists(SIZES.filter(lambda size: size <= PAGES * PAGE), max_size=7))
    def send_many(self, sizes):
        bodies = [self.body(size) for size in sizes]
        sent = 0
        for body in bodies:
            if not self.reference.has_room(len(body)):
                break
            self.reference.add(body)
            sent += 1
        expected = sent if sent or not bodies else "QueueFull"
        assert answer(lambda: self.queue.send_many(bodies, timeout=0)) == expected

    @rule()
    def receive(self):
        expected = self.reference.take().body if self.reference.waiting else "QueueEmpty"
        assert answer(lambda: self.queue.receive_nowait().body) == expected

    @rule(most=st.integers(1, 7))
    def receive_many(self, most):
        count = min(most, len(self.reference.waiting))
        expected = [self.reference.take().body for _ in range(count)] or "QueueEmpty"
        got = answer(lambda: [each.body for each in self.queue.receive_many(most, timeout=0)])
        assert got == expected

    @rule()
    def lease(self):
        if not self.reference.waiting:
            assert answer(lambda: self.queue.lease(0)) == "QueueEmpty"
            return
        entry, lease = self.reference.take(), self.queue.lease(0)
        assert (lease.body, lease.attempt) == (entry.body, entry.attempts)
        self.reference.held.append(entry)
        self.leases.append((lease, entry))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), how=st.sampled_from(["acknowledge", "give_back", "forget"]))
    def end_of_a_lease(self, data, how):
        place = data.draw(st.integers(0, len(self.leases) - 1))
        lease, entry = self.leases.pop(place)
        assert lease.body == entry.body
        self.reference.held.remove(entry)
        if how == "forget":
            del lease
        else:
            getattr(lease, how)()
        if how != "acknowledge":
            self.reference.put_back(entry)

    @rule(size=SIZES)
    def reserve(self, size):
        expected = self.expected_of_a_send(size)
        if expected:
            assert answer(lambda: self.queue.reserve(size, 0)) == expected
            return
        space, body = self.queue.reserve(size, 0), self.body(size)
        space.buffer[:] = body
        self.reference.reserved.append(size)
        self.spaces.append((space, size, body))

    @precondition(lambda self: self.spaces)
    @rule(data=st.data(), how=st.sampled_from(["send", "abandon", "forget"]))
    def end_of_a_reservation(self, data, how):
        place = data.draw(st.integers(0, len(self.spaces) - 1))
        space, size, body = self.spaces.pop(place)
        assert space.buffer == body
        self.reference.reserved.remove(size)
        if how == "forget":
            del space
        else:
            getattr(space, how)()
        if how == "send":
            self.reference.add(body)

    @precondition(lambda self: self.reference.dead)
    @rule(data=st.data(), retry=st.booleans())
    def end_of_a_dead_one(self, data, retry):
        place = data.draw(st.integers(0, len(self.reference.dead) - 1))
        entry, letter = self.reference.dead.pop(place), list(self.queue.dead)[place]
        assert letter.body == entry.body
        if not retry:
            self.queue.dead.remove(letter.id)
            return
        self.queue.dead.retry(letter.id)
        entry.attempts = 0
        self.reference.put_back(entry)

    @invariant()
    def they_stand_alike(self):
        now, reference = self.queue.statistics(), self.reference
        assert (now.messages, now.leased, now.dead) == (
            len(reference.waiting),
            len(reference.held),
            len(reference.dead),
        )
        assert now.free_bytes == reference.free_pages() * PAGE
        assert [letter.body for letter in self.queue.dead] == [each.body for each in reference.dead]
        assert self.queue.verify() == []

    def teardown(self):
        self.leases.clear()
        self.spaces.clear()
        self.queue.close()


TestSharedQueueAgrees = SharedQueueAgrees.TestCase
TestSharedQueueAgrees.settings = settings(max_examples=200, stateful_step_count=40)

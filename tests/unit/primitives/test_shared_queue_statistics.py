"""SharedQueue.statistics() and the ages: every number, and what each call does to it."""

from __future__ import annotations

import os
import time

import pytest
from deadlines import LOOK

from ipckit.queue import SharedQueue

_MONOTONIC_COARSE = 6
"""CLOCK_MONOTONIC_COARSE of clock_gettime(2); the time module has no name for it."""


@pytest.fixture
def queue():
    with SharedQueue(max_messages=4, max_bytes=1, max_attempts=1) as made:
        yield made


def _coarse() -> float:
    """Return the clock by which a queue notes when a message is sent; it moves once a tick."""
    return time.clock_gettime(_MONOTONIC_COARSE)


def _send_at_a_new_tick(queue: SharedQueue, body: bytes) -> tuple[float, float]:
    """Send a message that is younger than all before it; return the moments around it."""
    last, deadline = _coarse(), time.monotonic() + LOOK
    while _coarse() == last:
        assert time.monotonic() < deadline
    before = _coarse()
    queue.send(body)
    return before, time.monotonic()


def _is_of(age: float | None, sent: tuple[float, float], asked: float) -> bool:
    """Tell whether `age` is of a message of these moments; `asked` is before the question."""
    rounding = 1e-6
    assert age is not None
    return asked - sent[1] - rounding <= age <= time.monotonic() - sent[0] + rounding


def test_the_oldest_age_is_of_the_oldest_message_that_is_not_dead(queue):
    assert queue.statistics().oldest_age is None
    first = _send_at_a_new_tick(queue, b"a")
    second = _send_at_a_new_tick(queue, b"b")
    asked = time.monotonic()
    now = queue.statistics()
    assert _is_of(now.oldest_age, first, asked)
    job = queue.lease()
    asked = time.monotonic()
    assert _is_of(queue.statistics().oldest_age, first, asked)
    asked = time.monotonic()
    assert _is_of(queue.holders()[0].age, first, asked)
    job.give_back()
    asked = time.monotonic()
    (letter,) = queue.dead
    assert _is_of(letter.age, first, asked)
    asked = time.monotonic()
    assert _is_of(queue.statistics().oldest_age, second, asked)
    queue.receive()
    assert queue.statistics().oldest_age is None


def test_every_way_of_sending_is_counted_once(queue):
    queue.send(b"a")
    queue.send_nowait(b"b")
    queue.send_many([b"c"])
    with queue.reserve(1) as space:
        space.buffer[:] = b"d"
    now = queue.statistics()
    assert (now.messages, now.sent, now.leased, now.delayed, now.dead) == (4, 4, 0, 0, 0)
    assert len(queue.receive_many(4)) == 4
    queue.reserve(1).abandon()
    assert queue.statistics().sent == 4


def test_the_sizes_are_those_of_the_segment(queue):
    now = queue.statistics()
    assert (now.max_messages, now.max_bytes, now.free_bytes) == (4, 4096, 4096)
    assert now.memory_size == os.fstat(queue._descriptor()).st_size
    queue.send(b"a" * 193)
    assert queue.statistics().free_bytes == 0

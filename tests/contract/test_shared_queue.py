"""SharedQueue obeys docs/contracts/shared-queue.md; a test's number is the rule's."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time

import pytest
from deadlines import LOOK
from message_queues import fill, later, run, shared_queue  # noqa: F401  (fixtures)

from ipckit.errors import (
    MessageTooLarge,
    MisuseError,
    NotFound,
    QueueEmpty,
    QueueFull,
)
from ipckit.queue import SharedQueue

PAGE = 4096
SIZES = [0, 1, 192, 193, PAGE, PAGE + 1, 3 * PAGE, 1 << 20]
"""Bodies inside a record and in pages, and the ends of both."""


@pytest.fixture
def queue(shared_queue):
    return shared_queue


@pytest.mark.parametrize("size", SIZES)
def test_h1_bodies_of_any_size_arrive_whole(queue, size):
    """H1: by each way of sending and of receiving; all of the memory is free again."""
    body = os.urandom(size)
    queue.send(body)
    assert queue.receive(timeout=0) == (1, body)
    assert queue.send_many([body]) == 1
    assert queue.receive_many(5) == [(1, body)]
    with queue.reserve(size) as space:
        assert (space.size, len(space.buffer)) == (size, size)
        space.buffer[:] = body
    with queue.lease() as job:
        assert (job.body, job.size, job.attempt) == (body, size, 1)
    assert queue.statistics().free_bytes == queue.max_bytes and len(queue) == 0


def test_h1_a_body_fits_whenever_as_many_pages_are_free():
    """H1: no fragmentation refuses it: every second page is free, and one body takes them all."""
    with SharedQueue(max_messages=300, max_bytes=256 * PAGE) as queue:
        for number in range(256):
            queue.send_nowait(bytes([number]) * PAGE)
        leases = [queue.lease(0) for _ in range(256)]
        for lease in leases[::2]:
            lease.acknowledge()
        body = os.urandom(128 * PAGE)
        with pytest.raises(QueueFull):
            queue.send_nowait(body + b"x")
        queue.send_nowait(body)
        with queue.lease(0) as job:
            assert job.body == body
            assert job.body.contiguous
        assert [bytes(lease.body[:1]) for lease in leases[1::2]] == [
            bytes([number]) for number in range(1, 256, 2)
        ]
        for lease in leases[1::2]:
            lease.acknowledge()
        assert queue.verify() == [] and queue.statistics().free_bytes == 256 * PAGE


def test_h1_longer_than_the_queue_is_refused_before_anything(queue):
    """H1, Q7: also in the middle of many; none of them is sent."""
    for call in (
        lambda: queue.send(b"x" * (queue.max_bytes + 1)),
        lambda: queue.send_many([b"a", b"x" * (queue.max_bytes + 1)]),
        lambda: queue.reserve(queue.max_bytes + 1),
    ):
        with pytest.raises(MessageTooLarge, match=r"1048577 bytes.*1048576"):
            call()
    assert len(queue) == 0


def test_h1_what_cannot_be_a_body_is_refused_before_anything(queue):
    """H1, Q9: in the middle of many, too."""
    for bodies in ([b"a", "text"], [b"a", None], b"one", bytearray(b"one"), 5):
        with pytest.raises(TypeError):
            queue.send_many(bodies)
    for size in (-1, 2**70):
        with pytest.raises(ValueError, match="size="):
            queue.reserve(size)
    for size in (1.5, "1", None):
        with pytest.raises(TypeError, match="size="):
            queue.reserve(size)
    for most in (0, -1, 2**70):
        with pytest.raises(ValueError, match="most="):
            queue.receive_many(most)
    assert len(queue) == 0


def test_h1_many_at_once(queue):
    """H1: as many as have room, and as many as are there; an iterable will do; nothing to do is 0."""
    assert queue.send_many(b"%d" % n for n in range(12)) == 8
    with pytest.raises(QueueFull):
        queue.send_many([b"more"], timeout=0)
    assert [message.body for message in queue.receive_many(5)] == [b"%d" % n for n in range(5)]
    assert len(queue.receive_many(100)) == 3
    assert queue.send_many([]) == 0
    with pytest.raises(QueueEmpty):
        queue.receive_many(3, timeout=0)


def test_h1_bodies_that_do_not_lie_beside_each_other(queue):
    """H1, Q3: every second byte, columns, and views of no bytes."""
    for view in (
        memoryview(b"abcdef")[::2],
        memoryview(b"abcdef").cast("B", [2, 3]),
        memoryview((ctypes.c_int * 3)(1, 2, 3)),
        memoryview(b"")[:0],
    ):
        queue.send_nowait(view)
        assert queue.receive_nowait().body == bytes(view)


def test_h2_a_leased_message_is_in_no_other_place(queue):
    """H2: no other receiver gets it; acknowledged, it is gone."""
    queue.send(b"a")
    job = queue.lease()
    with pytest.raises(QueueEmpty):
        queue.receive_nowait()
    now = queue.statistics()
    assert (now.messages, now.leased, len(queue)) == (0, 1, 0)
    assert [(holder.thread_id, holder.attempt, holder.size) for holder in queue.holders()] == [
        (threading.get_native_id(), 1, 1)
    ]
    job.acknowledge()
    with pytest.raises(QueueEmpty):
        queue.receive_nowait()
    for call in (job.acknowledge, job.give_back, lambda: bytes(job.body)):
        with pytest.raises((MisuseError, BufferError), match="over"):
            call()


def test_h2_what_is_given_back_keeps_its_place(queue):
    """H2: before all that were sent later, with one more attempt."""
    queue.send_many([b"a", b"b", b"c"])
    first, second = queue.lease(), queue.lease()
    second.give_back()
    first.give_back()
    with queue.lease() as job:
        assert (job.body, job.attempt) == (b"a", 2)
    assert [message.body for message in queue.receive_many(9)] == [b"b", b"c"]
    assert queue.statistics().redelivered == 2


def test_h2_an_exception_in_the_block_gives_it_back(queue):
    """H2: and its traceback, which has the views, does not hold it for ever."""
    queue.send(b"a" * 500)
    with pytest.raises(ZeroDivisionError), queue.lease() as job:
        view = job.body[1:]
        raise ZeroDivisionError
    assert job.attempt == 1
    del view, job
    gc.collect()
    with queue.lease(timeout=LOOK) as job:
        assert job.attempt == 2


def test_h2_a_lease_that_nobody_has_is_given_back(queue):
    """H2: it was forgotten, not done. Also when its body was looked at."""
    queue.send(b"a")
    assert queue.lease().body == b"a"
    assert queue.receive_nowait().body == b"a"


def test_h2_a_delay_is_kept(queue):
    """H2: until then no receiver gets it; one that waits gets it then, and not before."""
    queue.send(b"a")
    began = time.monotonic()
    queue.lease().give_back(delay=0.2)
    with queue.lease(timeout=LOOK) as job:
        assert job.attempt == 2 and time.monotonic() - began >= 0.2
    queue.send(b"later")
    queue.lease().give_back(delay=10 * LOOK)
    assert queue.statistics().delayed == 1
    with pytest.raises(QueueEmpty):
        queue.receive_nowait()
    for wrong in (-1, float("nan"), float("inf")):
        queue.send(b"b")
        job = queue.lease()
        with pytest.raises(ValueError, match="delay="):
            job.give_back(wrong)
        with pytest.raises(TypeError, match="delay="):
            job.give_back("1")
        job.acknowledge()


def test_h4_after_max_attempts_a_message_is_dead():
    """H4: kept, listed, retried with no attempt counted, or removed."""
    with SharedQueue(max_messages=3, max_bytes=PAGE, max_attempts=2) as queue:
        queue.send_many([b"a" * 300, b"b"])
        for attempt in (1, 2):
            job = queue.lease()
            assert (bytes(job.body[:1]), job.attempt) == (b"a", attempt)
            job.give_back()
        assert [(dead.attempts, dead.body) for dead in queue.dead] == [(2, b"a" * 300)]
        assert (len(queue.dead), len(queue), queue.statistics().dead) == (1, 1, 1)
        (letter,) = queue.dead
        assert queue.dead[letter.id].body == letter.body
        queue.dead.retry(letter.id)
        for call in (queue.dead.retry, queue.dead.remove, queue.dead.__getitem__):
            with pytest.raises(NotFound, match=str(letter.id)):
                call(letter.id)
        for attempt in (1, 2):
            job = queue.lease()
            assert (bytes(job.body[:1]), job.attempt) == (b"a", attempt)
            job.give_back()
        (letter,) = queue.dead
        queue.dead.remove(letter.id)
        assert len(queue.dead) == 0 and queue.statistics().free_bytes == PAGE
        with pytest.raises(NotFound):
            queue.dead.remove(2**70)
        with pytest.raises(TypeError):
            queue.dead.remove("1")
        assert queue.receive_nowait().body == b"b" and queue.verify() == []


def test_h5_a_body_is_read_only_and_no_copy(queue):
    """H5: a view; what the sender wrote lies in it once."""
    queue.send(b"abc" * 100)
    with queue.lease() as job:
        assert job.body.readonly and job.body is job.body
        with pytest.raises(TypeError):
            job.body[0] = 1
        assert memoryview(job) == b"abc" * 100
    with pytest.raises(BufferError, match="over"):
        memoryview(job)


def test_h5_an_acknowledged_body_stays_as_long_as_its_views(queue):
    """H5: no receiver gets it again, and its memory is free after the last view."""
    body = os.urandom(queue.max_bytes)
    queue.send(body)
    with queue.lease() as job:
        part = job.body[100:]
    assert part == body[100:]
    with pytest.raises(QueueEmpty):
        queue.receive_nowait()
    with pytest.raises(QueueFull):
        queue.send_nowait(b"x" * 500)
    del part
    queue.send_nowait(body)
    queue.receive_nowait()


def test_h5_a_lease_whose_views_are_in_use_is_not_given_back(queue):
    """H5: another receiver might end it, and others might write there."""
    queue.send(b"a" * 500)
    job = queue.lease()
    part = job.body[1:]
    with pytest.raises(BufferError, match="release it"):
        job.give_back()
    part.release()
    job.give_back()
    assert queue.receive_nowait().body == b"a" * 500


def test_h6_a_reservation_is_seen_when_it_is_sent(queue):
    """H6: not before; nothing of it, when it is abandoned."""
    space = queue.reserve(500)
    assert len(queue) == 0
    queue.send(b"after")
    space.buffer[:] = b"x" * 500
    space.send()
    assert [message.body for message in queue.receive_many(9)] == [b"after", b"x" * 500]
    with pytest.raises(ZeroDivisionError), queue.reserve(500) as space:
        raise ZeroDivisionError
    with queue.reserve(queue.max_bytes) as space:
        space.abandon()
    for call in (space.send, space.abandon):
        with pytest.raises(MisuseError, match="over"):
            call()
    assert len(queue) == 0 and queue.statistics().free_bytes == queue.max_bytes


def test_h6_a_reservation_that_nobody_has_is_free(queue):
    """H6: forgotten, not sent."""
    assert len(queue.reserve(queue.max_bytes).buffer) == queue.max_bytes
    queue.send_nowait(b"x" * queue.max_bytes)
    assert len(queue) == 1


def test_h6_what_may_still_be_written_is_not_sent(queue):
    """H6: BufferError while a part of the buffer is in use; the plain view is released."""
    space = queue.reserve(500)
    whole, part = space.buffer, space.buffer[10:20]
    with pytest.raises(BufferError, match="release it"):
        space.send()
    assert len(queue) == 0
    with pytest.raises(ValueError, match="released"):
        whole[0] = 1
    space.buffer[:3] = b"abc"  # another one
    part.release()
    whole = space.buffer
    space.send()
    with pytest.raises(ValueError, match="released"):
        whole[0] = 1
    assert queue.receive_nowait().body[:3] == b"abc"

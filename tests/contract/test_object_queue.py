"""ObjectQueue obeys docs/contracts/object-queue.md; a test's number is the rule's."""

from __future__ import annotations

import asyncio
import os
import pickle
import queue as standard
import signal
import threading

import pytest
from deadlines import LOOK
from message_queues import run  # noqa: F401  (a fixture)
from object_queues import NAME, Array, beside, in_child, named, queue  # noqa: F401  (fixtures)

from ipckit.errors import (
    MessageTooLarge,
    MisuseError,
    NotFound,
    QueueEmpty,
    QueueFull,
)
from ipckit.queue import ObjectQueue, SharedQueue

PAGE = 4096

ITEMS = [None, 0, "text", b"", b"x" * PAGE, [1, {"a": (2.5, {3})}], "x" * 300_000, range(5)]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: str(item)[:12])
def test_b1_what_is_put_comes_out(queue, item):
    """B1: by each way of putting and of getting; all of the memory is free again."""
    queue.put(item)
    queue.put_nowait(item)
    assert queue.get() == item and queue.get_nowait() == item
    queue.put(item, True, LOOK)
    with queue.lease() as job:
        assert job.obj == item and job.obj is job.obj and job.attempt == 1 and job.size > 0
    assert queue.statistics().free_bytes == queue.max_bytes and queue.empty()


def test_b1_what_was_put_outlives_its_process(queue):
    """B1: no thread sends it later, so a process that ends at once has sent it all."""

    def put_and_die():
        for number in range(8):
            queue.put(number)
        os.kill(os.getpid(), signal.SIGKILL)

    in_child(put_and_die)
    assert [queue.get(timeout=LOOK) for _ in range(8)] == [*range(8)]


def test_b2_the_order_and_the_sizes(queue):
    """B2, and what the calls of the sizes say on the way."""
    assert (queue.qsize(), queue.empty(), queue.full(), len(queue)) == (0, True, False, 0)
    for number in range(8):
        queue.put(number)
    assert (queue.qsize(), queue.empty(), queue.full(), bool(queue)) == (8, False, True, True)
    assert [queue.get() for _ in range(8)] == [*range(8)]


def test_b2_the_time_is_over(queue):
    """B2: each is the exception of the module `queue`, too."""
    for call in (
        queue.get_nowait,
        lambda: queue.get(False),
        lambda: queue.get(False, LOOK),
        lambda: queue.get(timeout=0.01),
        lambda: queue.lease(0.01),
    ):
        with pytest.raises(QueueEmpty) as seen:
            call()
        assert isinstance(seen.value, standard.Empty)
    for number in range(8):
        queue.put(number)
    for call in (
        lambda: queue.put_nowait(1),
        lambda: queue.put(1, False),
        lambda: queue.put(1, timeout=0.01),
        lambda: queue.put(Array(bytes(PAGE)), timeout=0.01),
    ):
        with pytest.raises(QueueFull) as seen:
            call()
        assert isinstance(seen.value, standard.Full)
    assert queue.qsize() == 8


def test_b2_a_call_that_waits_is_woken(queue):
    with beside(lambda: queue.put("late")):
        assert queue.get(timeout=LOOK) == "late"
    for number in range(8):
        queue.put(number)
    with beside(queue.get):
        queue.put("room", timeout=LOOK)


@pytest.mark.parametrize("timeout", [-1, "soon", float("nan")])
def test_b2_a_wrong_timeout_is_refused_before_anything(queue, run, timeout):
    queue.put(1)
    for call in (
        lambda: queue.put(1, True, timeout),
        lambda: queue.put(1, False, timeout),
        lambda: queue.get(True, timeout),
        lambda: queue.get(False, timeout),
        lambda: queue.lease(timeout),
        lambda: queue.join(timeout),
        lambda: run(queue.aput(1, timeout=timeout)),
        lambda: run(queue.aget(timeout=timeout)),
    ):
        with pytest.raises((TypeError, ValueError), match="timeout"):
            call()
    assert queue.qsize() == 1


def test_b3_what_cannot_be_pickled_is_named_and_not_put(queue, run):
    with pytest.raises(TypeError, match=r"obj\['a'\]\[1\] .*a lock cannot be pickled"):
        queue.put({"a": [1, threading.Lock()]})
    with pytest.raises(MessageTooLarge, match="max_bytes is 1048576"):
        queue.put(Array(bytes(1 << 20)))
    with pytest.raises(MessageTooLarge):
        run(queue.aput(Array(bytes(1 << 20))))
    assert queue.qsize() == 0 and queue.statistics().free_bytes == queue.max_bytes


def test_b3_what_is_not_plain_is_named_and_not_put(named):
    queue = named()
    with pytest.raises(TypeError, match=r"data\['a'\]\[1\] is a set"):
        queue.put({"a": [1, {2}]})
    queue.put([None, True, 5, 2.5, "ä", b"\0" * 100_000, {"k": []}])
    assert queue.get() == [None, True, 5, 2.5, "ä", b"\0" * 100_000, {"k": []}]
    queue.put("x" * 100_000)
    with queue.lease() as job:
        assert job.obj == "x" * 100_000


@pytest.mark.parametrize("size", [PAGE - 1, PAGE, 70_000, 300_000])
def test_b4_a_buffer_is_as_writable_as_it_was(queue, size):
    """B4: inside the pickle, copied with it, and out of a lease."""
    data = os.urandom(size)
    queue.put([Array(data), Array(bytearray(data))])
    fixed, changing = queue.get()
    assert fixed.data == data and changing.data == data
    with pytest.raises(TypeError):
        memoryview(fixed.data)[0] = 1
    memoryview(changing.data)[0] = 1
    every_second = memoryview(data)[::2]
    queue.put([Array(every_second)] if every_second.contiguous else [Array(bytes(every_second))])
    assert bytes(queue.get()[0].data) == data[::2]


def test_b4_an_array_lies_in_the_memory_once(queue):
    """B4: its 80 pages, and one more for head and pickle."""
    queue.put(Array(bytearray(80 * PAGE)))
    taken = queue.max_bytes - queue.statistics().free_bytes
    assert taken == 81 * PAGE


def test_b5_a_lease_gives_views_which_keep_the_memory(queue):
    queue.put(Array(bytearray(b"ab" * PAGE)))
    with queue.lease() as job:
        view = job.obj.data
    assert isinstance(view, memoryview) and view.readonly and view[:4] == b"abab"
    assert queue.statistics().free_bytes < queue.max_bytes and queue.empty()
    view.release()
    assert queue.statistics().free_bytes == queue.max_bytes
    with pytest.raises(BufferError, match="the message is over"):
        _ = job.obj


def test_b5_a_lease_that_fails_is_given_back(queue):
    queue.put("work")
    for attempt in (1, 2):
        with pytest.raises(ZeroDivisionError), queue.lease() as job:
            assert (job.obj, job.attempt) == ("work", attempt)
            _ = 1 / 0
    with queue.lease() as job:
        assert job.attempt == 3
        job.give_back()
    job = queue.lease()
    job.acknowledge()
    with pytest.raises(QueueEmpty):
        queue.lease(0)


def test_b5_a_lease_with_a_view_in_use_cannot_be_given_back(queue):
    queue.put(Array(bytearray(2 * PAGE)))
    job = queue.lease()
    view = job.obj.data
    with pytest.raises(BufferError):
        job.give_back()
    view.release()
    job.give_back()
    assert queue.qsize() == 1


def test_b5_the_death_of_its_process_gives_it_back(queue):
    queue.put("work")
    in_child(lambda: queue.lease().attempt and os.kill(os.getpid(), signal.SIGKILL))
    with queue.lease(LOOK) as job:
        assert (job.obj, job.attempt) == ("work", 2)


def test_b9_pickles_need_trust(named):
    queue = named(trusted=True)
    assert queue.trusted
    queue.put({1, 2})
    with pytest.raises(MisuseError, match="trusted=True"):
        ObjectQueue.open(NAME)
    with pytest.raises(MisuseError, match="trusted=True"):
        ObjectQueue.open_or_create(NAME)
    with ObjectQueue.open(NAME, trusted=True) as other:
        assert other.get() == {1, 2} and other.trusted
        other.task_done()


def test_b9_plain_data_needs_none(named):
    assert not named().trusted
    for trusted in (False, True):
        with ObjectQueue.open_or_create(NAME, trusted=trusted) as other:
            assert not other.trusted
            with pytest.raises(TypeError):
                other.put({1, 2})


def test_b10_bytes_and_objects_do_not_mix(named):
    with SharedQueue.create(NAME) as queue:
        for trusted in (False, True):
            with pytest.raises(MisuseError, match="holds bytes"):
                ObjectQueue.open(NAME, trusted=trusted)
        queue.remove()
    with pytest.raises(NotFound):
        ObjectQueue.open(NAME)
    named()
    with pytest.raises(MisuseError, match="holds objects"):
        SharedQueue.open(NAME)


def test_coroutines_put_and_get(queue, run):
    """As put() and get(): without a wait, in turn, and cancelled with nothing changed."""

    async def use():
        getting = [asyncio.create_task(queue.aget(timeout=LOOK)) for _ in range(3)]
        for number in range(3):
            await queue.aput(number)
        assert sorted(await asyncio.gather(*getting)) == [0, 1, 2]
        late = asyncio.create_task(queue.aget())
        await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        with pytest.raises(QueueEmpty):
            await queue.aget(timeout=0)
        for number in range(8):
            await queue.aput(number, timeout=0)
        with pytest.raises(QueueFull):
            await queue.aput(8, timeout=0)
        with pytest.raises(QueueFull):
            await queue.aput(8, timeout=0.01)
        putting = asyncio.create_task(queue.aput(Array(bytes(70_000)), timeout=LOOK))
        for number in range(8):
            assert await queue.aget() == number
        await putting
        assert (await queue.aget(timeout=LOOK)).data == bytes(70_000)

    run(use())
    for _ in range(12):
        queue.task_done()
    queue.join(0)


def test_the_dead_are_kept_with_their_objects(queue):
    """H4, with objects; one that cannot be read any more is no obstacle."""
    queue.put({"n": 1})
    for _ in range(20):
        queue.lease(0).give_back()
    (dead,) = queue.dead
    assert (dead.obj, dead.attempts) == ({"n": 1}, 20)
    assert queue.dead[dead.id].body == dead.body and len(queue.dead) == 1
    queue.dead.retry(dead.id)
    assert queue.get() == {"n": 1}
    with pytest.raises(NotFound):
        queue.dead.remove(dead.id)


def test_what_cannot_be_read_is_off_the_queue(queue):
    """The error of the unpickling is the caller's, and the next object is there."""
    gone = type("Gone", (), {})
    gone.__module__, gone.__qualname__ = __name__, "Gone"
    globals()["Gone"] = gone
    queue.put(gone())
    queue.put("next")
    del globals()["Gone"]
    with pytest.raises(AttributeError):
        queue.get()
    assert queue.get() == "next"
    queue.task_done()
    queue.task_done()
    queue.join(0)


class Labelled(ObjectQueue):
    """A subclass whose users add attributes."""


def test_what_is_added_to_it_goes_with_its_pickle(named):
    """As of the other objects: class and attributes; another class is refused."""
    named()
    with Labelled.open(NAME) as queue:
        queue.label = "first"
        queue.put([1])
        with pickle.loads(pickle.dumps(queue)) as copy:
            assert (type(copy), copy.label, copy.get()) == (Labelled, "first", [1])
            copy.task_done()
        make, (_, inner), _ = queue.__reduce__()
        with pytest.raises(TypeError, match="must be ObjectQueue or a subclass"):
            make(dict, inner)


def test_it_says_what_it_is(queue, named):
    assert repr(queue) == "<ObjectQueue: 8 messages>"
    assert repr(named()) == f"<ObjectQueue {NAME!r}: 8192 messages>"
    assert queue.max_messages == 8 and queue.max_bytes == 1 << 20 and queue.max_attempts == 20
    assert queue.holders() == [] and queue.name is None
    queue.join_thread()
    queue.cancel_join_thread()
    queue.close()
    for call in (lambda: queue.put(1), queue.get, queue.join, queue.task_done, queue.qsize):
        with pytest.raises(MisuseError):
            call()

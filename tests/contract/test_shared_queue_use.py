"""SharedQueue obeys docs/contracts/shared-queue.md, H7 to H13: processes, loops, names.

A test's number is the rule's.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import select
import shutil
import uuid

import pytest
from deadlines import LOOK
from family import all_well, family
from message_queues import fill, later, run, shared_queue  # noqa: F401  (fixtures)

from ipckit.errors import (
    AccessDenied,
    AlreadyExists,
    MessageTooLarge,
    MisuseError,
    NotFound,
    QueueEmpty,
    QueueFull,
    SegmentCorrupt,
)
from ipckit.queue import SharedQueue

PAGE = 4096


@pytest.fixture
def queue(shared_queue):
    return shared_queue


@pytest.fixture
def named():
    with SharedQueue.create(f"test-{uuid.uuid4().hex}", max_messages=8) as queue:
        yield queue
        try:
            queue.remove()
        except (NotFound, MisuseError):
            pass


def test_h7_a_child_has_none_of_its_parent_s(queue):
    """H7: it can neither end them nor give them back by ending itself."""
    queue.send(b"a")
    queue.send(b"b")
    job, space = queue.lease(), queue.reserve(300)

    def child():
        for call in (job.acknowledge, job.give_back, space.send, space.abandon):
            with pytest.raises(MisuseError, match="parent"):
                call()
        with job, space:
            pass
        assert queue.receive(timeout=LOOK).body == b"b"

    with family() as start:
        assert all_well(start(child))
    assert queue.statistics().leased == 1
    space.buffer[:] = b"c" * 300
    space.send()
    job.acknowledge()
    assert queue.receive_nowait().body == b"c" * 300


def test_h7_the_end_of_its_thread_gives_it_back(queue):
    """H7: it says so when it is ended afterwards, and ends nothing of the next message there."""
    queue.send(b"a")
    held = []
    later(lambda: held.extend([queue.lease(), queue.reserve(500), queue.reserve(500)])).join(LOOK)
    assert queue.receive(timeout=LOOK).body == b"a"
    bodies = [os.urandom(500) for _ in range(8)]
    for body in bodies:
        queue.send(body, timeout=LOOK)
    for call in (held[0].acknowledge, held[1].send):
        with pytest.raises(MisuseError, match="thread"):
            call()
    held.clear()
    assert [message.body for message in queue.receive_many(9)] == bodies
    assert queue.statistics().free_bytes == queue.max_bytes


def test_h9_a_descriptor_tells_of_a_message(queue):
    """H9: readable when there may be one, not readable after a call in vain."""
    fd = queue.fileno()
    assert queue.fileno() == fd

    def readable(wait):
        return bool(select.select([fd], [], [], wait)[0])

    with pytest.raises(QueueEmpty):
        queue.receive_nowait()
    assert not readable(0)
    for _ in range(20):
        queue.send(b"a")
        queue.send(b"b")
        assert readable(LOOK)
        assert [message.body for message in queue.receive_many(9)] == [b"a", b"b"]
        with pytest.raises(QueueEmpty):
            queue.receive_nowait()
    assert not readable(0)
    queue.close()
    assert queue.fileno() == -1


def test_h9_a_descriptor_takes_no_message_from_those_that_wait(queue):
    """H9: a program that does not read its descriptor holds up no other receiver."""
    queue.fileno()
    with pytest.raises(QueueEmpty):
        queue.receive_nowait()
    got = []
    threads = [later(lambda: got.append(queue.receive(timeout=LOOK).body)) for _ in range(4)]
    for number in range(4):
        queue.send(b"%d" % number)
    for thread in threads:
        thread.join(LOOK)
    assert sorted(got) == [b"0", b"1", b"2", b"3"]


def test_h9_a_child_asks_again(queue):
    """H9: the thread that writes the descriptor is the parent's."""
    queue.fileno()

    def child():
        fd = queue.fileno()
        with pytest.raises(QueueEmpty):
            queue.receive_nowait()
        queue.send(b"a")
        assert select.select([fd], [], [], LOOK)[0]
        assert queue.receive_nowait().body == b"a"

    with family() as start:
        assert all_well(start(child))


def test_h9_what_cannot_be_sent_is_refused_before_its_turn(queue, run):
    """H9, Q7, Q9: though another call of the loop waits."""

    async def both():
        fill(queue)
        waiting = asyncio.create_task(queue.asend(b"x" * 500))
        await asyncio.sleep(0)
        with pytest.raises(TypeError):
            await queue.asend("text")
        with pytest.raises(MessageTooLarge):
            await queue.asend(b"x" * (queue.max_bytes + 1))
        with pytest.raises(MessageTooLarge):
            await queue.areserve(queue.max_bytes + 1)
        with pytest.raises(ValueError, match="size="):
            await queue.areserve(-1)
        with pytest.raises(QueueFull):
            await queue.asend(b"x", timeout=0)
        with pytest.raises(QueueFull):
            await queue.asend(b"x", timeout=0.01)
        assert (await queue.areceive(timeout=0)).body == b"x" * 4096
        await waiting

    run(both())


def test_h9_a_small_message_is_not_held_up_by_a_large_one(run):
    """H9: in vain it was tried to send one that needs more room than comes."""

    async def both():
        with SharedQueue(max_messages=2, max_bytes=4 * PAGE) as small:
            small.send_nowait(b"a" * PAGE)
            small.send_nowait(b"b" * PAGE)
            waiting = asyncio.create_task(small.asend(b"c" * PAGE))
            await asyncio.sleep(0.01)
            with pytest.raises(QueueFull):
                small.send_nowait(b"d" * 4 * PAGE)
            small.receive_nowait()
            await waiting

    run(both())


def test_h9_a_child_of_a_loop_has_its_own(queue):
    """H9: what waits in the parent does not wait in the child, whose close() wakes its own."""

    async def in_child():
        waiting = asyncio.create_task(queue.areceive())
        await asyncio.sleep(0.01)
        queue.close()
        with pytest.raises(MisuseError):
            await waiting

    async def in_parent():
        waiting = asyncio.create_task(queue.areceive())
        await asyncio.sleep(0.01)
        with family() as start:
            assert all_well(start(lambda: asyncio.run(in_child())))
        queue.send(b"a")
        assert (await waiting).body == b"a"

    asyncio.run(asyncio.wait_for(in_parent(), LOOK))


def test_h9_event_loops(queue, run):
    """H9: leases and reservations in a loop, in their turn, with time limits."""

    async def all_of_it():
        with pytest.raises(QueueEmpty):
            await queue.alease(timeout=0.01)
        jobs = [asyncio.create_task(queue.alease()) for _ in range(3)]
        await asyncio.sleep(0)
        for number in range(3):
            with await queue.areserve(1000) as space:
                space.buffer[:] = b"%d" % number * 1000
        leases = await asyncio.gather(*jobs)
        assert [bytes(lease.body[:1]) for lease in leases] == [b"0", b"1", b"2"]
        for lease in leases:
            lease.acknowledge()
        count = fill(queue)
        with pytest.raises(QueueFull):
            await queue.areserve(1000, timeout=0.01)
        with pytest.raises(QueueFull):
            await queue.asend(b"x", timeout=0)
        sending = asyncio.create_task(queue.areserve(1000))
        await asyncio.sleep(0)
        for _ in range(count):
            await queue.areceive(timeout=LOOK)
        (await sending).abandon()

    run(all_of_it())
    assert queue.statistics().free_bytes == queue.max_bytes


def test_h12_leases_outlive_the_object(queue):
    """H12: closing the queue in this process does not end what it holds."""
    other = SharedQueue(max_messages=4, max_bytes=1 << 20)
    other.send(b"a" * 300)
    job, space = other.lease(), other.reserve(10)
    other.close()
    for call in (other.receive_nowait, other.lease, other.statistics, other.verify, other.holders):
        with pytest.raises(MisuseError, match="closed"):
            call()
    assert job.body == b"a" * 300
    space.buffer[:] = b"0123456789"
    space.send()
    job.acknowledge()


def test_h12_closing_ends_waits_of_other_threads(queue):
    """H12, Q11: MisuseError in those that wait; also while the descriptor is in use."""
    queue.fileno()
    caught = []

    def wait():
        try:
            queue.receive()
        except MisuseError as exc:
            caught.append(exc)

    threads = [later(wait) for _ in range(3)]
    queue.close()
    for thread in threads:
        thread.join(LOOK)
    assert len(caught) == 3


def test_h13_a_name(named):
    """H13: made once, found by all of this user, gone after remove()."""
    with pytest.raises(AlreadyExists):
        SharedQueue.create(named.name)
    named.send(b"a")
    with SharedQueue.open(named.name) as other:
        assert (other.max_messages, other.max_bytes, other.max_attempts) == (8, 64 << 20, 20)
        assert other.receive_nowait().body == b"a"
    with SharedQueue.open_or_create(named.name, max_messages=99) as other:
        assert other.max_messages == 8
    named.remove()
    for call in (lambda: SharedQueue.open(named.name), named.remove):
        with pytest.raises(NotFound):
            call()
    named.send(b"goes on")
    assert named.receive_nowait().body == b"goes on"
    with SharedQueue.open_or_create(named.name, max_attempts=None) as other:
        assert other.max_attempts is None
        with pytest.raises(NotFound, match="another"):
            named.remove()
        other.remove()


def test_h13_a_nameless_queue_cannot_be_removed(queue):
    with pytest.raises(MisuseError, match="no name"):
        queue.remove()


@pytest.mark.parametrize(
    "settings",
    [
        {"max_messages": 0},
        {"max_messages": 2**23 + 1},
        {"max_bytes": 0},
        {"max_attempts": 0},
        {"max_attempts": 256},
    ],
)
def test_h13_sizes_that_no_queue_has(settings):
    """H13: refused before anything is made; the text has the name and the limits."""
    for make in (SharedQueue, lambda **sizes: SharedQueue.create("test-refused", **sizes)):
        with pytest.raises(ValueError, match=rf"{next(iter(settings))}=.*must be"):
            make(**settings)
    with pytest.raises(NotFound):
        SharedQueue.open("test-refused")


def test_h13_what_is_no_queue_is_refused(named):
    """H13: cut off, written over, and a file of others."""
    path = f"/dev/shm/ipckit-queue.{named.name}"
    os.chmod(path, 0o622)
    with pytest.raises(AccessDenied, match="0o622"):
        SharedQueue.open(named.name)
    os.chmod(path, 0o600)
    twin = path + "-2"
    size = os.path.getsize(path)
    for damage, why in (
        (lambda file: file.truncate(size // 2), "cut off"),
        (lambda file: file.write(b"x"), "no queue"),
        (lambda file: (file.seek(20), file.write(b"x" * 8)), "damaged"),
        (lambda file: file.truncate(0), "empty"),
    ):
        shutil.copy(path, twin)
        os.chmod(twin, 0o600)
        with open(twin, "r+b") as file:
            damage(file)
        with pytest.raises(SegmentCorrupt, match=why):
            SharedQueue.open(f"{named.name}-2")
    os.unlink(twin)


@pytest.mark.needs_root
def test_h13_the_queue_of_another_user_is_refused(named):
    """H13: also by root."""
    os.chown(f"/dev/shm/ipckit-queue.{named.name}", 12345, -1)
    with pytest.raises(AccessDenied, match="user 12345"):
        SharedQueue.open(named.name)


def test_h13_a_pickle_opens_it_by_its_name(named, queue):
    """H13, Q16: and of a nameless one it is refused."""
    named.send(b"a")
    with pickle.loads(pickle.dumps(named)) as twin:
        assert twin.receive_nowait().body == b"a"
    with pytest.raises(MisuseError, match="inheritance"):
        pickle.dumps(queue)
    data = pickle.dumps(named)
    named.remove()
    with pytest.raises(NotFound):
        pickle.loads(data)

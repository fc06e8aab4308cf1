"""Every queue of ipckit obeys docs/contracts/queue.md; a test's number is the rule's."""

from __future__ import annotations

import asyncio
import os
import uuid

import pytest
from deadlines import LOOK
from message_queues import fill, later, make_posix, posix, queue, ranked, run, typed  # noqa: F401  (fixtures)
from timing import soonest

from ipckit.errors import (
    MessageTooLarge,
    MisuseError,
    QueueEmpty,
    QueueFull,
    QueueRemoved,
)
from ipckit.queue import Message, SysvQueue


def test_q1_first_in_first_out(queue):
    """Q1: the oldest of those that fit comes first."""
    for body in (b"a", b"b", b"c"):
        queue.send_nowait(body)
    assert [queue.receive_nowait().body for _ in range(3)] == [b"a", b"b", b"c"]


def test_q1_highest_priority_first(ranked):
    """Q1: the oldest of the highest priority comes first."""
    for body, priority in ((b"a", 0), (b"b", 32767), (b"c", 5), (b"d", 32767)):
        ranked.send_nowait(body, priority=priority)
    got = [tuple(ranked.receive_nowait()) for _ in range(4)]
    assert got == [(32767, b"b"), (32767, b"d"), (5, b"c"), (0, b"a")]


def test_q2_type_chooses(typed):
    """Q2: 0 any, n that one, -n the lowest up to n, exclude any but n."""
    for body, kind in ((b"a", 3), (b"b", 1), (b"c", 2), (b"d", 2**63 - 1), (b"e", 1)):
        typed.send_nowait(body, type=kind)
    assert typed.receive_nowait(type=2) == (2, b"c")
    assert typed.receive_nowait(type=-3) == (1, b"b")
    assert typed.receive_nowait(type=3, exclude=True) == (2**63 - 1, b"d")
    assert typed.receive_nowait() == (3, b"a")
    with pytest.raises(QueueEmpty):
        typed.receive_nowait(type=7)


@pytest.mark.parametrize("size", [0, 1, 4096, 8192])
def test_q3_bodies_arrive_unchanged(queue, size):
    """Q3: whole and unchanged, 0 bytes too; bytearray and memoryview are sent as their bytes."""
    body = os.urandom(size)
    for shape in (bytes, bytearray, memoryview):
        queue.send_nowait(shape(body))
        got = queue.receive_nowait()
        assert got.body == body
        assert type(got) is Message and type(got.body) is bytes
        assert hash(got) == hash(Message(*got))  # CPython 3.14 keeps a tuple's hash in it


def test_q4_q5_nowait_never_waits(queue):
    """Q4, Q5: QueueFull and QueueEmpty at once, and nothing changed."""
    with pytest.raises(QueueEmpty) as empty:
        queue.receive_nowait()
    assert isinstance(empty.value, BlockingIOError) and empty.value.errno
    count = fill(queue)
    assert len(queue) == count
    assert [queue.receive_nowait().body for _ in range(count)] == [b"x" * 4096] * count


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_q6_waits_end_in_time(queue, timeout):
    """Q6: after the time QueueEmpty and QueueFull, not much later."""

    def receive():
        with pytest.raises(QueueEmpty):
            queue.receive(timeout=timeout)

    def send():
        with pytest.raises(QueueFull):
            queue.send(b"y" * 4096, timeout=timeout)

    assert timeout <= soonest(receive) < timeout + 1
    fill(queue)
    assert timeout <= soonest(send) < timeout + 1


@pytest.mark.parametrize("timeout", [None, LOOK])
def test_q6_waits_end_with_what_they_wait_for(queue, timeout):
    """Q6: a message ends a receive, room ends a send."""
    got = []
    thread = later(lambda: got.append(queue.receive(timeout=timeout).body))
    queue.send(b"hello", timeout=timeout)
    thread.join(LOOK)
    assert got == [b"hello"]

    count = fill(queue)
    thread = later(lambda: queue.send(b"last" + b"." * 4092, timeout=timeout))
    for _ in range(count + 1):
        last = queue.receive(timeout=LOOK)
    thread.join(LOOK)
    assert last.body[:4] == b"last"


def test_q7_too_large_is_refused_whole(queue):
    """Q7: MessageTooLarge names both numbers; no wait is begun, and the queue stays usable."""
    for send in (queue.send, queue.send_nowait):
        with pytest.raises(MessageTooLarge, match=r"8193 bytes.*8192") as caught:
            send(b"x" * 8193)
        assert caught.value.errno
    queue.send_nowait(b"ok")
    assert queue.receive_nowait().body == b"ok"


def test_q7_more_than_the_queue_ever_holds(typed):
    """Q7: over max_bytes is MessageTooLarge and no wait for ever."""
    typed.set(max_bytes=100)
    with pytest.raises(MessageTooLarge, match=r"101 bytes.*max_bytes.* 100"):
        typed.send(b"x" * 101)
    typed.send(b"x" * 100)


def test_q8_max_size(typed):
    """Q8: a longer message stays; truncate cuts and takes it."""
    typed.send_nowait(b"abcdef", type=4)
    with pytest.raises(MessageTooLarge, match="5"):
        typed.receive_nowait(max_size=5)
    assert len(typed) == 1
    assert typed.receive_nowait(max_size=5, truncate=True) == (4, b"abcde")
    typed.send_nowait(b"abc")
    assert typed.receive(max_size=3, timeout=0).body == b"abc"
    typed.send_nowait(b"abc")
    assert typed.receive_nowait(max_size=0, truncate=True).body == b""
    assert len(typed) == 0


def test_q9_wrong_values(typed):
    """Q9: refused before anything is asked or changed."""
    for wrong in (0, -1, 2**63):
        with pytest.raises(ValueError):
            typed.send_nowait(b"", type=wrong)
        with pytest.raises(ValueError):
            typed.send(b"", type=wrong)
    for wrong in ({"type": 2**63}, {"type": 0, "exclude": True}, {"max_size": -1}):
        with pytest.raises(ValueError):
            typed.receive_nowait(**wrong)
    for wrong in ({"type": 1.0}, {"type": "1"}, {"max_size": 1.5}):
        with pytest.raises(TypeError):
            typed.receive_nowait(**wrong)
    with pytest.raises(TypeError):
        typed.send_nowait(b"", type=1.5)
    for wrong in ({"mode": 0o1000}, {"mode": -1}, {"max_bytes": -1}, {"uid": -1}, {"gid": 2**32}):
        with pytest.raises(ValueError):
            typed.set(**wrong)
    assert len(typed) == 0


def test_q9_wrong_times_and_bodies(queue):
    """Q9: also where nothing would be waited for."""
    for body in ("text", None, 5, [b"a"], ["x"]):
        with pytest.raises(TypeError):
            queue.send_nowait(body)
        with pytest.raises(TypeError):
            queue.send(body)
    queue.send_nowait(b"there")
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError):
            queue.receive(timeout=timeout)
        with pytest.raises(ValueError):
            queue.send(b"", timeout=timeout)
    with pytest.raises(TypeError):
        queue.receive(timeout="1")
    assert len(queue) == 1


def test_q9_wrong_priorities(ranked):
    """Q9: a priority is an int of 0..32767."""
    for priority in (-1, 32768):
        with pytest.raises(ValueError):
            ranked.send_nowait(b"", priority=priority)
    with pytest.raises(TypeError):
        ranked.send_nowait(b"", priority="high")
    assert len(ranked) == 0


def test_q10_a_removed_queue_is_gone_for_all(typed):
    """Q10: every later call says so."""
    typed.send_nowait(b"lost")
    typed.remove()
    calls = (
        lambda: typed.send(b""),
        lambda: typed.send_nowait(b""),
        typed.receive,
        typed.receive_nowait,
        typed.statistics,
        lambda: typed.set(mode=0o600),
        lambda: len(typed),
        typed.remove,
    )
    for call in calls:
        with pytest.raises(QueueRemoved):
            call()


def test_q10_removal_ends_waits(typed, run):
    """Q10: of threads and loops, sending and receiving."""
    caught = []

    def wait(call):
        try:
            call()
        except QueueRemoved as exc:
            caught.append(exc)

    async def removed_meanwhile():
        waiting = asyncio.create_task(typed.areceive(type=9))
        sending = asyncio.create_task(typed.asend(b"y" * 4096))
        await asyncio.sleep(0.05)
        typed.remove()
        return await asyncio.gather(waiting, sending, return_exceptions=True)

    fill(typed)
    threads = [
        later(lambda: wait(lambda: typed.receive(type=5))),
        later(lambda: wait(lambda: typed.receive(type=5, timeout=LOOK))),
        later(lambda: wait(lambda: typed.send(b"y" * 4096))),
    ]
    assert [type(exc) for exc in run(removed_meanwhile())] == [QueueRemoved] * 2
    for thread in threads:
        thread.join(LOOK)
    assert len(caught) == 3


def test_q11_close_detaches(queue):
    """Q11: every later call is MisuseError, close() again is nothing."""
    queue.send_nowait(b"stays")
    queue.remove()
    queue.close()
    queue.close()
    for call in (
        lambda: queue.send(b""),
        lambda: queue.send_nowait(b""),
        queue.receive,
        queue.receive_nowait,
        queue.remove,
        lambda: len(queue),
    ):
        with pytest.raises(MisuseError):
            call()


def test_q11_close_leaves_the_queue_to_others(posix):
    """Q11: and a with block closes."""
    with SysvQueue.create() as one:
        other = SysvQueue.open_id(one.id)
        one.send_nowait(b"x")
    assert other.receive_nowait().body == b"x"
    other.remove()
    other.close()

    with make_posix(posix) as first:
        second = posix.open(first.name)
        first.send_nowait(b"x")
    assert second.receive_nowait().body == b"x"
    second.unlink()
    second.close()


def test_q15_statistics_and_set(typed):
    """Q15: how it stands now; set() changes what is named."""
    typed.send_nowait(b"abc", type=2)
    typed.send_nowait(b"", type=1)
    now = typed.statistics()
    assert (now.messages, now.bytes, now.max_bytes, now.mode) == (2, 3, 16384, 0o600)
    assert (now.uid, now.gid) == (os.geteuid(), os.getegid())
    assert (now.last_sender_pid, now.last_receiver_pid) == (os.getpid(), 0)
    assert now.sent_at > 0 and now.received_at == 0 and now.changed_at > 0
    typed.receive_nowait()
    typed.set(mode=0o640, max_bytes=1000)
    now = typed.statistics()
    assert (now.messages, now.max_bytes, now.mode) == (1, 1000, 0o640)
    assert now.last_receiver_pid == os.getpid() and now.received_at > 0
    assert len(typed) == 1 and typed.key is None and isinstance(typed.id, int)


def test_q15_posix_statistics_and_set(posix):
    """Q15: the mode is what was asked for, whatever the umask."""
    before = os.umask(0o077)
    try:
        queue = posix.create(f"/ipckit-{uuid.uuid4().hex}", mode=0o640, max_messages=3)
    finally:
        os.umask(before)
    with queue:
        queue.send_nowait(b"x")
        now = queue.statistics()
        assert (now.messages, now.max_messages, now.max_message_size) == (1, 3, 8192)
        assert (now.mode, now.uid, now.gid) == (0o640, os.geteuid(), os.getegid())
        queue.set(mode=0o600, uid=os.geteuid())
        assert queue.statistics().mode == 0o600
        queue.remove()

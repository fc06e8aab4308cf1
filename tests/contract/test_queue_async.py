"""The rules of docs/contracts/queue.md for asend and areceive, in the loops of asyncio and uvloop."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest
from deadlines import LOOK
from message_queues import (  # noqa: F401  (fixtures)
    MAKERS,
    POSIX,
    fill,
    make_shared,
    queue,
    run,
    typed,
)
from timing import soonest

from ipckit.errors import (
    MessageTooLarge,
    MisuseError,
    QueueEmpty,
    QueueFull,
    QueueRemoved,
)
from ipckit.queue import PosixQueue, SharedQueue, SysvQueue


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_q6_async_waits_end_in_time(queue, run, timeout):
    """Q6: in a loop as without one."""

    def receive():
        with pytest.raises(QueueEmpty):
            run(queue.areceive(timeout=timeout))

    def send():
        with pytest.raises(QueueFull):
            run(queue.asend(b"y" * 4096, timeout=timeout))

    # A loop's clock may be coarse: uvloop's counts milliseconds, and stands during a turn.
    assert timeout - 0.005 <= soonest(receive) < timeout + 1
    fill(queue)
    assert timeout - 0.005 <= soonest(send) < timeout + 1


def test_q6_async_waits_end_with_what_they_wait_for(queue, run):
    """Q6: likewise in a loop; several areceives are served in the order of their calls."""

    async def both():
        waiting = [asyncio.create_task(queue.areceive()) for _ in range(5)]
        await asyncio.sleep(0)
        for number in range(5):
            await queue.asend(b"%d" % number)
        return [message.body for message in await asyncio.gather(*waiting)]

    assert run(both()) == [b"0", b"1", b"2", b"3", b"4"]

    async def full():
        count = fill(queue)
        sending = asyncio.create_task(queue.asend(b"last" + b"." * 4092))
        for _ in range(count + 1):
            last = await queue.areceive(timeout=LOOK)
        await sending
        return last.body[:4]

    assert run(full()) == b"last"


@pytest.mark.parametrize(
    "maker", [SysvQueue.create, make_shared, *(MAKERS[each] for each in POSIX)]
)
def test_q11_close_wakes_who_waits_in_a_loop(maker, run):
    """Q11: with MisuseError, and the loop is usable afterwards."""
    queue = maker()

    async def closed_meanwhile():
        waiting = [asyncio.create_task(queue.areceive()) for _ in range(2)]
        await asyncio.sleep(0.02)
        (SysvQueue.open_id(queue.id) if isinstance(queue, SysvQueue) else queue).remove()
        queue.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(0)
        return results

    assert {type(exc) for exc in run(closed_meanwhile())} <= {MisuseError, QueueRemoved}


def test_q13_a_cancelled_areceive_has_taken_nothing(queue, run):
    """Q13: whenever it is cancelled; the message is there for the next one."""

    async def many():
        for turn in range(50):
            waiting = asyncio.create_task(queue.areceive())
            for _ in range(turn % 4):
                await asyncio.sleep(0)
            queue.send_nowait(b"%d" % turn)
            for _ in range(turn % 5):
                await asyncio.sleep(0)
            waiting.cancel()
            (result,) = await asyncio.gather(waiting, return_exceptions=True)
            if isinstance(result, asyncio.CancelledError):
                result = queue.receive_nowait()
            assert result.body == b"%d" % turn
        assert len(queue) == 0

    run(many())


def test_q13_a_cancelled_areceive_gives_an_empty_message_back(queue, run):
    """Q13: also the one kind of message that a relay cannot leave in a System V queue."""

    async def many():
        for turn in range(20):
            waiting = asyncio.create_task(queue.areceive())
            await asyncio.sleep(0.002)
            queue.send_nowait(b"")
            if turn % 2:
                await asyncio.sleep(0)
            waiting.cancel()
            (result,) = await asyncio.gather(waiting, return_exceptions=True)
            if isinstance(result, asyncio.CancelledError):
                result = queue.receive(timeout=LOOK)
            assert result.body == b""
        assert len(queue) == 0

    run(many())


def test_q13_an_empty_message_of_a_cancelled_areceive_is_everybody_s():
    """Q13: it is in the queue again, not with the object whose areceive was cancelled."""

    async def cancelled():
        waiting = asyncio.create_task(queue.areceive())
        await asyncio.sleep(0.01)
        queue.send_nowait(b"", type=3)
        deadline = monotonic() + LOOK
        while len(other) and monotonic() < deadline:
            pass  # the loop stands still, so the relay's thread has it and the areceive not yet
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    with SysvQueue.create() as queue, SysvQueue.open_id(queue.id) as other:
        asyncio.run(asyncio.wait_for(cancelled(), LOOK))
        assert other.receive_nowait() == (3, b"")
        queue.remove()


def test_q13_a_later_areceive_waits_its_turn(queue, run):
    """Q13: the message that wakes the first is not taken by one that was called afterwards."""

    async def in_order():
        first = asyncio.create_task(queue.areceive())
        await asyncio.sleep(0.01)
        queue.send_nowait(b"1")
        second = asyncio.create_task(queue.areceive())
        await asyncio.sleep(0)
        queue.send_nowait(b"2")
        return [message.body for message in await asyncio.gather(first, second)]

    if isinstance(queue, SysvQueue | PosixQueue | SharedQueue):
        assert run(in_order()) == [b"1", b"2"]


def test_q13_areceive_takes_what_it_asked_for(typed, run):
    """Q13, Q2: waits of different choices stand side by side, empty bodies too."""

    async def side_by_side():
        odd = [asyncio.create_task(typed.areceive(type=1)) for _ in range(3)]
        low = asyncio.create_task(typed.areceive(type=-3))
        other = asyncio.create_task(typed.areceive(type=1, exclude=True))
        await asyncio.sleep(0.01)
        await typed.asend(b"", type=9)
        assert await other == (9, b"")
        for body in (b"", b"x", b"", b"y"):
            await typed.asend(body, type=1)
        got = await asyncio.gather(*odd, low)
        assert sorted(message.body for message in got) == [b"", b"", b"x", b"y"]
        with pytest.raises(MessageTooLarge):
            waiting = asyncio.create_task(typed.areceive(type=5, max_size=2))
            await asyncio.sleep(0.01)
            await typed.asend(b"long", type=5)
            await waiting
        assert await typed.areceive(type=5, max_size=2, truncate=True) == (5, b"lo")
        assert len(typed) == 0

    run(side_by_side())

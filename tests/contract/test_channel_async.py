"""Every rule of docs/contracts/channel.md that is about event loops: C11, and the loop of a fork."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from channels import child, exit_code, no_descriptor_leaks, pair, unread, uvloop_has_run  # noqa: F401  (fixtures)
from deadlines import LOOK

from ipckit.errors import (
    MisuseError,
    PeerGone,
    WaitTimeout,
)

BIG = b"B" * (3 * 1024 * 1024)


def run(main):
    async def bounded():
        async with asyncio.timeout(LOOK):
            await main()

    asyncio.run(bounded())


def test_c11_async_frames_in_order(pair):
    """C11: concurrent asends arrive whole, in the order of the calls; areceives likewise."""
    one, other = pair

    async def main():
        bodies = [bytes([i]) * (i * 200_000) for i in range(8)]
        gets = [asyncio.create_task(other.areceive()) for _ in bodies]
        sends = [asyncio.create_task(one.asend(body, kind=i)) for i, body in enumerate(bodies)]
        await asyncio.gather(*sends)
        got = await asyncio.gather(*gets)
        assert [(f.kind, f.body) for f in got] == list(enumerate(bodies))

    run(main)


def test_c11_async_on_uvloop(pair):
    """C11: the server's loop serves it too."""
    one, other = pair

    async def main():
        send = asyncio.create_task(one.asend(BIG, timeout=LOOK))
        assert (await other.areceive(LOOK)).body == BIG
        await send

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_c11_cancelled_in_the_middle(pair):
    """C11, C3: a cancelled asend never arrives, a cancelled areceive loses nothing."""
    one, other = pair

    async def main():
        send = asyncio.create_task(one.asend(BIG, fds=[2]))
        await asyncio.sleep(0)
        assert unread(other) > 100_000  # it is in the middle
        queued = asyncio.create_task(one.asend(b"queued"))
        get = asyncio.create_task(other.areceive())
        await asyncio.sleep(0)
        send.cancel()
        with pytest.raises(asyncio.CancelledError):
            await send
        await asyncio.sleep(0)
        get.cancel()
        with pytest.raises(asyncio.CancelledError):
            await get
        assert (await other.areceive()).body == b"queued"
        await queued

    run(main)


def test_c11_async_time_limits(pair):
    """C11, C3, C4: asend and areceive keep their time; 0 tries once; then all goes on."""
    one, other = pair

    async def main():
        for timeout in (0, 0.02):
            with pytest.raises(WaitTimeout, match="receive: "):
                await other.areceive(timeout)
            with pytest.raises(WaitTimeout, match="send: "):
                await one.asend(BIG, timeout=timeout)
            with pytest.raises(WaitTimeout):
                other.receive_nowait()
        await one.asend(b"x", timeout=0)
        assert (await other.areceive(0)).body == b"x"
        with pytest.raises(ValueError, match="timeout"):
            await other.areceive(-1)

    run(main)


def test_c11_one_user_at_a_time(pair):
    """C11: a second send in another manner is refused while one is under way, not mixed in."""
    one, other = pair

    async def main():
        send = asyncio.create_task(one.asend(BIG))
        await asyncio.sleep(0)
        assert unread(other) > 100_000  # it is in the middle
        with pytest.raises(WaitTimeout, match="under way"):
            one.send_nowait(b"x")
        with pytest.raises(MisuseError, match="asend"):
            one.send(b"x")
        assert (await other.areceive()).body == BIG
        await send

    run(main)


def test_c11_close_wakes_who_waits(pair):
    """C11: close() ends a waiting areceive with MisuseError; the end of the peer with PeerGone."""
    one, other = pair

    async def main():
        mine = asyncio.create_task(one.areceive())
        theirs = asyncio.create_task(other.areceive())
        await asyncio.sleep(0)
        one.close()
        with pytest.raises(MisuseError, match="closed"):
            await mine
        with pytest.raises(PeerGone):
            await theirs

    run(main)


def test_c11_a_forked_child_leaves_the_parents_loop_alone(pair):
    """C11: close() in a child does not take the descriptor out of the parent's loop."""
    one, other = pair

    async def main():
        get = asyncio.create_task(one.areceive())
        await asyncio.sleep(0)
        with child(one.close) as pid:
            assert exit_code(pid) == 0
        other.send(b"still here")
        assert (await get).body == b"still here"

    run(main)

"""Channel.receive(into=...): docs/contracts/channel.md, C14."""

from __future__ import annotations

import array
import asyncio
import os
import select
import signal
import threading

import pytest
from channels import no_descriptor_leaks, pair  # noqa: F401  (fixtures)
from deadlines import LOOK

from ipckit.channel import Channel, Frame, FrameInto
from ipckit.errors import MessageTooLarge, PeerGone, ProtocolError, WaitTimeout

SIZES = [0, 1, 32 * 1024, 33 * 1024, 3 * 1024 * 1024]


def sending(end, *bodies, **settings) -> threading.Thread:
    """Send from another thread, as the socket may not take it all."""

    def send():
        for body in bodies:
            end.send(body, timeout=LOOK, **settings)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("room", [0, 100], ids=["exact", "more"])
def test_c14_the_body_is_in_the_buffer(pair, size, room):
    """C14: kind, ident and descriptors are the frame's."""
    ours, theirs = pair
    body = os.urandom(size)
    buffer = bytearray(b"." * (size + room))
    reading, writing = os.pipe()
    thread = sending(theirs, body, kind=7, ident=8, fds=[writing])
    frame = ours.receive(LOOK, into=buffer)
    thread.join(LOOK)
    assert isinstance(frame, FrameInto) and isinstance(frame.body, memoryview)
    assert (frame.kind, frame.ident, len(frame.body), len(frame.fds)) == (7, 8, size, 1)
    assert buffer == body + b"." * room and frame.body == body
    if size:
        buffer[0] ^= 255
        assert frame.body[0] == body[0] ^ 255, "it is a view"
    for fd in (reading, writing, *frame.fds):
        os.close(fd)


@pytest.mark.parametrize("size", [20, 40_000, 900_000])
def test_c14_a_buffer_that_is_too_small_leaves_the_frame(pair, size):
    """C14, C10: before it is read and in the middle of it; the descriptor is readable still."""
    ours, theirs = pair
    body = os.urandom(size)
    thread = sending(theirs, body, b"next")
    for room in (0, size - 1):
        with pytest.raises(MessageTooLarge, match=rf"{size} bytes.*`into` has {room}"):
            ours.receive(LOOK, into=bytearray(room))
    assert select.select([ours], [], [], LOOK)[0] == [ours]
    assert ours.receive(LOOK, into=bytearray(size)).body == body
    assert ours.receive(LOOK) == Frame(0, 0, b"next", ())
    thread.join(LOOK)


@pytest.mark.parametrize("ways", ["io", "oi", "iji", "ii"])
def test_c14_what_came_before_a_timeout_is_kept_outside_the_buffer(pair, ways):
    """C4, C14: calls with one buffer, with another, and without. The first meets a part."""
    ours, theirs = pair
    body = os.urandom(2_000_000)
    sender = os.fork()
    if sender == 0:
        code = 1
        try:
            theirs.send(body, timeout=LOOK)
            code = 0
        finally:
            os._exit(code)
    frame, turn = None, 0
    try:
        assert select.select([ours], [], [], LOOK)[0] == [ours]
        os.kill(sender, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(sender, os.WUNTRACED)[1])
        while frame is None:
            if turn == 1:
                os.kill(sender, signal.SIGCONT)
            way = ways[turn % len(ways)]
            turn += 1
            buffer = bytearray(2_000_000)
            try:
                frame = ours.receive(0, into=buffer) if way != "o" else ours.receive(0)
            except WaitTimeout:
                buffer[:] = b"x" * len(buffer)  # and it may be resized: nobody has a view
                buffer.clear()
    finally:
        if frame is None:
            os.kill(sender, signal.SIGKILL)
        ended = os.waitpid(sender, 0)
    assert ended == (sender, 0)
    assert frame.body == body and turn > 1


def test_c14_a_frame_that_was_given_up_is_passed_over(pair):
    """C3, C14."""
    ours, theirs = pair
    with pytest.raises(WaitTimeout):
        theirs.send(b"x" * 3_000_000, timeout=0.01)
    thread = sending(theirs, b"whole" * 100_000)
    assert ours.receive(LOOK, into=bytearray(3_000_000)).body == b"whole" * 100_000
    thread.join(LOOK)


def test_c14_items_of_any_size(pair):
    ours, theirs = pair
    numbers = array.array("d", [0.0] * 4)
    theirs.send(array.array("d", [1.5, 2.5]).tobytes())
    assert len(ours.receive(LOOK, into=numbers).body) == 16
    assert numbers.tolist() == [1.5, 2.5, 0.0, 0.0]


@pytest.mark.parametrize(
    "into",
    [b"fixed", "text", 7, memoryview(bytearray(8))[::2]],
    ids=lambda into: type(into).__name__,
)
def test_c14_what_cannot_be_written_is_refused_before_anything(pair, into):
    ours, theirs = pair
    theirs.send(b"kept")
    with pytest.raises(TypeError, match=r"into=.*must be a writable buffer"):
        ours.receive(LOOK, into=into)
    with pytest.raises(TypeError, match=r"into=.*must be a writable buffer"):
        asyncio.run(ours.areceive(LOOK, into=into))
    assert ours.receive(0).body == b"kept"


def test_c14_in_a_loop(pair):
    """As receive(), also cancelled in the middle."""
    ours, theirs = pair

    async def use():
        body = os.urandom(3_000_000)
        thread = sending(theirs, body)
        buffer = bytearray(3_000_000)
        task = asyncio.create_task(ours.areceive(into=buffer))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        buffer.clear()
        frame = await ours.areceive(LOOK, into=bytearray(3_000_000))
        thread.join(LOOK)
        assert frame.body == body
        with pytest.raises(WaitTimeout):
            await ours.areceive(0.01, into=bytearray(1))

    asyncio.run(use())


def test_c14_the_end_and_wrong_bytes_are_as_without_it():
    """C5, C8."""
    ours, theirs = Channel.pair()
    with ours:
        theirs.close()
        with pytest.raises(PeerGone):
            ours.receive(LOOK, into=bytearray(8))
    ours, theirs = Channel.pair()
    with ours, theirs:
        os.write(theirs.fileno(), b"no frame begins like this")
        with pytest.raises(ProtocolError):
            ours.receive(LOOK, into=bytearray(8))
        with pytest.raises(ProtocolError, match="dead"):
            ours.receive(LOOK, into=bytearray(8))

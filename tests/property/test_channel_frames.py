"""Frames of a channel, without a socket. Rule numbers: docs/contracts/channel.md."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipckit.channel import frames
from ipckit.channel.frames import HEAD_SIZE, PIECE, Arrived, Decoder, Outgoing, encode_head
from ipckit.errors import MessageTooLarge, ProtocolError

LIMIT = 4 * PIECE

sizes = st.integers(0, 50) | st.sampled_from(
    [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 7]
)
heads = st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1), st.integers(0, 253))


def outgoing(size: int, kind: int = 0, ident: int = 0, fds: int = 0) -> Outgoing:
    body = bytes(i % 251 for i in range(size)) if size < 100 else b"x" * (size - 1) + b"y"
    return Outgoing(encode_head(size, kind, ident, fds, LIMIT), memoryview(body))


def body_of(size: int) -> bytes:
    return bytes(i % 251 for i in range(size)) if size < 100 else b"x" * (size - 1) + b"y"


def write(out: Outgoing, most: int, steps: list[int]) -> bytes:
    """Write at most `most` bytes, as many at a time as `steps` says; return them."""
    wire = b""
    while not out.done and len(wire) < most:
        step = steps[len(wire) % len(steps)] if steps else len(out.unit)
        part = out.unit[: min(step, most - len(wire))]
        wire += part
        out.wrote(len(part))
    return wire


def read(decoder: Decoder, wire: bytes, steps: list[int]) -> list[Arrived]:
    """Feed all of `wire`, never more than wanted."""
    got, at = [], 0
    while at < len(wire):
        step = steps[at % len(steps)] if steps else len(wire)
        part = wire[at : at + min(step, decoder.wanted)]
        at += len(part)
        arrived = decoder.feed(part)
        if arrived is not None:
            got.append(arrived)
            assert decoder.at_start
    return got


steps = st.lists(st.integers(1, 40_000), max_size=3)


@given(st.lists(st.tuples(sizes, heads), max_size=3), steps, steps)
def test_c1_any_writing_and_reading_gives_the_frames(sent, writes, reads):
    """C1: however writes and reads are cut, kind, ident, count of descriptors and body arrive."""
    wire = b"".join(write(outgoing(size, *head), 1 << 30, writes) for size, head in sent)
    got = read(Decoder(LIMIT), wire, reads)

    assert got == [Arrived(*head, body_of(size)) for size, head in sent]


@given(sizes, st.data(), steps, steps)
def test_c2_c3_a_frame_given_up_anywhere_never_arrives(size, data, writes, reads):
    """C2, C3: given up after any byte but the last, it is dropped, and the next one arrives."""
    out = outgoing(size, 1, 2, 3)
    decoder = Decoder(LIMIT)
    total = HEAD_SIZE + size + -(-size // PIECE) + 1  # a verdict before each piece and at the end
    stop = data.draw(
        st.integers(0, total - 1) | st.sampled_from([0, 1, HEAD_SIZE, total - 2, total - 1]),
        label="stop",
    )
    wire = write(out, stop, writes)
    owed = out.give_up()
    wire += owed + write(outgoing(5), 100, [])

    dropped = [Arrived(1, 2, 3, None)] if stop else []
    assert read(decoder, wire, reads) == [*dropped, Arrived(0, 0, 0, body_of(5))]
    assert len(owed) <= HEAD_SIZE + 1 + PIECE + 1


@given(sizes)
def test_c3_nothing_is_owed_before_the_first_byte_or_after_the_last(size):
    """C3: a frame that was not begun, or is whole, leaves nothing to write."""
    out = outgoing(size)
    assert out.give_up() == b""

    write(out, 1 << 30, [])
    assert out.done
    assert out.give_up() == b""


@given(sizes.filter(bool), steps)
def test_c10_the_reader_stops_at_the_end_of_the_frame(size, reads):
    """C10: the bytes wanted up to a frame's end are that frame's, never the next one's."""
    wire = write(outgoing(size), 1 << 30, [])
    decoder = Decoder(LIMIT)
    at = 0
    while at < len(wire):
        assert decoder.wanted <= len(wire) - at
        step = min(reads[at % len(reads)] if reads else decoder.wanted, decoder.wanted)
        decoder.feed(wire[at : at + step])
        at += step


@given(st.binary(min_size=HEAD_SIZE + 1, max_size=200))
def test_c8_noise_is_refused_and_nothing_else(noise):
    """C8: bytes of any kind give frames, wait for more, or raise one of two errors."""
    decoder = Decoder(100)
    try:
        read(decoder, noise, [])
    except (ProtocolError, MessageTooLarge):
        return
    assert decoder.wanted > 0


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        (struct.pack("<IHBBQ", 5, 0, 0, 0xC4, 0) + b"G", "no frame begins"),
        (struct.pack("<IHBBQ", 5, 0, 254, 0xC5, 0) + b"G", "no frame begins"),
        (struct.pack("<IHBBQ", 5, 0, 0, 0xC5, 0) + b"E", "with 5 bytes of the body to come"),
        (struct.pack("<IHBBQ", 0, 0, 0, 0xC5, 0) + b"G", "with 0 bytes of the body"),
        (struct.pack("<IHBBQ", 0, 0, 0, 0xC5, 0) + b"?", "verdict 0x3f"),
        (struct.pack("<IHBBQ", 1, 0, 0, 0xC5, 0) + b"GxG", "with 0 bytes of the body"),
    ],
)
def test_c8_each_kind_of_nonsense(wire, error):
    """C8: a wrong mark, count or verdict is named in the error."""
    with pytest.raises(ProtocolError, match=error):
        read(Decoder(100), wire, [])


def test_c6_the_size_is_judged_first():
    """C6: over max_frame both sides refuse, with both numbers, before a body exists."""
    with pytest.raises(MessageTooLarge, match="101 bytes, max_frame is 100"):
        encode_head(101, 0, 0, 0, 100)
    with pytest.raises(MessageTooLarge, match="101 bytes comes, max_frame is 100"):
        read(Decoder(100), encode_head(101, 0, 0, 0, 200) + b"G", [])


@pytest.mark.parametrize(
    ("kind", "ident", "fds", "error"),
    [
        (-1, 0, 0, "kind=-1: must be 0..65535"),
        (2**16, 0, 0, "kind=65536"),
        (0, -1, 0, "ident=-1"),
        (0, 2**64, 0, "ident=18446744073709551616"),
        (0, 0, frames.MAX_FDS + 1, "254 descriptors: one frame takes at most 253"),
    ],
)
def test_numbers_out_of_range(kind, ident, fds, error):
    """kind, ident and the number of descriptors are checked before anything is written."""
    with pytest.raises(ValueError, match=error):
        encode_head(0, kind, ident, fds, 100)


@given(st.lists(st.tuples(sizes, heads), min_size=1, max_size=3), steps, st.data())
def test_c14_any_change_between_buffers_gives_the_frames(sent, reads, data):
    """C14, C4: parts of a body come into one buffer, into another, or into none, in any order."""
    wire = b"".join(write(outgoing(size, *head), 1 << 30, []) for size, head in sent)
    decoder, at, got = Decoder(LIMIT), 0, []
    ways = data.draw(st.lists(st.sampled_from("none one two".split()), min_size=1, max_size=5))
    turn = 0
    buffers = {name: memoryview(bytearray(LIMIT)) for name in ("one", "two")}
    while at < len(wire):
        way = ways[turn % len(ways)]
        turn += 1
        step = min(reads[at % len(reads)] if reads else len(wire), decoder.wanted)
        part = wire[at : at + step]
        at += step
        if way != "none" and decoder.fds >= 0:
            decoder.place(buffers[way])
        if decoder.placed:
            space, verdict = decoder.room()
            assert len(space) == decoder.wanted - 1
            space[: len(part)] = part[: len(space)]
            verdict[:] = part[len(space) :] or verdict
            arrived = decoder.came(step)
        else:
            arrived = decoder.feed(part)
        if arrived is not None:
            assert decoder.at_start
            got.append(arrived._replace(body=bytes(arrived.body)))
        decoder.unplace()
        for buffer in buffers.values():
            buffer[:] = bytes(LIMIT)  # what the decoder keeps is in no buffer
    assert got == [Arrived(*head, body_of(size)) for size, head in sent]

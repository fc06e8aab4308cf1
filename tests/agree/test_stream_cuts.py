"""What a connection cuts off in C is what its framer would have given, for any rule and any cuts."""

from __future__ import annotations

import struct
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from ipckit._core import _stream
from ipckit.framing import Framing, PacketRefused
from ipckit.framing.settings import _LENGTHS
from ipckit.server.shared.scoreboard import Scoreboard

BOARD = Scoreboard(slots=1, sessions=4)

marks = st.text("ab", min_size=1, max_size=8).map(str.encode)
limits = st.integers(1, 40)
marked = st.builds(
    lambda split, eof, most: Framing(
        open_eof_split=split, open_eof_check=True, package_eof=eof, package_max_length=most
    ),
    st.booleans(),
    marks,
    limits,
)


@st.composite
def counted(draw):
    code = draw(st.sampled_from(sorted(_LENGTHS)))
    most = draw(st.integers(16, 400))
    return Framing(
        open_length_check=True,
        package_length_type=code,
        package_length_offset=draw(st.integers(0, 5)),
        package_body_offset=draw(st.integers(0, 16)),
        package_max_length=most,
    )


def counted_bytes(framing, draw):
    """Bytes in which some packets are whole, some are cut, and some have a length that is refused."""
    field = _LENGTHS[framing.package_length_type]
    whole = b""
    for size in draw(st.lists(st.integers(-20, 120), max_size=6), label="lengths"):
        head = b"#" * framing.package_length_offset
        try:
            head += field.pack(size)
        except struct.error:  # negative, and the field is not
            head += b"\xff" * field.size
        total = framing.package_body_offset + size
        whole += head + b"." * max(0, total - len(head) - draw(st.sampled_from([0, 0, 0, 1])))
    return whole


class Handed(_stream.Stream):
    """A stream that keeps what is handed out."""

    def __init__(self, framing):
        self.packets = []
        self.refused = False
        self._waiting = deque()
        self.framer = framing.framer()
        self._begin(
            None, 0, lambda *args: self.packets.append(args[3]),
            self.framer, framing.rule(), False, False, BOARD.row(0, 0),
        )  # fmt: skip
        session = BOARD.sessions.open(0)
        self._attach(session, BOARD.sessions.row_of(session))
        BOARD.sessions.close(session, 0)

    def _stream_raised(self, error):
        assert isinstance(error, PacketRefused)
        self.packets += error.packets
        self.refused = True
        self._ending = "refused"


def by_framer(framing, pieces):
    framer, packets = framing.framer(), []
    for piece in pieces:
        try:
            packets += framer.feed(piece)
        except PacketRefused as refused:
            return packets + refused.packets, True, 0
    return packets, False, framer.pending


@given(st.data())
def test_both_cut_alike(data):
    framing = data.draw(marked | counted(), label="framing")
    if framing.open_length_check:
        whole = counted_bytes(framing, data.draw)
    else:
        whole = data.draw(st.text("abc", max_size=80).map(str.encode), label="bytes")
    at = data.draw(st.lists(st.integers(0, len(whole)), max_size=5).map(sorted), label="cuts")
    pieces = [whole[a:b] for a, b in zip([0, *at], [*at, len(whole)], strict=True)]

    stream = Handed(framing)
    for piece in pieces:
        stream.data_received(piece)

    assert (stream.packets, stream.refused, stream.framer.pending) == by_framer(framing, pieces)


def test_a_rule_says_how_each_field_is_read():
    for code, field in _LENGTHS.items():
        rule = Framing(open_length_check=True, package_length_type=code).rule()
        for value in (1, 0x1234567890ABCDEF & ((1 << (8 * field.size - 1)) - 1)):
            order = "big" if rule.is_big else "little"
            packed = value.to_bytes(rule.field_size, order, signed=rule.is_signed)
            assert field.unpack(packed) == (value,)
        assert rule.is_signed == (field.unpack(b"\xff" * field.size)[0] < 0)

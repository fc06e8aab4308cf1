"""However the kernel cuts a stream, the packets are the same. Rule numbers: docs/contracts/framing.md."""

from __future__ import annotations

import dataclasses
import pickle
import struct

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ipckit import framing
from ipckit.framing import Framing, PacketRefused

CODES = {
    "c": "=b", "C": "=B", "s": "=h", "S": "=H", "n": ">H", "v": "<H", "l": "=i", "L": "=I",
    "N": ">I", "V": "<I", "q": "=q", "Q": "=Q", "J": ">Q", "P": "<Q",
}  # fmt: skip


def cut(wire: bytes, data: st.DataObject) -> list[bytes]:
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=8).map(sorted), label="cuts")
    return [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]


def run(settings: Framing, pieces: list[bytes]) -> tuple[list[bytes], bool]:
    """All packets of the stream, and whether it was refused."""
    framer = settings.framer()
    got: list[bytes] = []
    for piece in pieces:
        try:
            got += framer.feed(piece)
        except PacketRefused as exc:
            got += exc.packets
            assert framer.pending == 0
            with pytest.raises(PacketRefused) as again:
                framer.feed(b"x")
            assert again.value.packets == []
            return got, True
        assert framer.pending <= settings.package_max_length
    return got, False


# Few letters, so that a mark is often begun, repeated, and cut in two.
marks = st.text("ab", min_size=1, max_size=8).map(str.encode)
# A mark that overlaps itself ("aa" in "aaa") has no one place to end: fine for split, which takes
# the first, not for the tail alone.
clear_marks = marks.filter(lambda m: not any(m.endswith(m[:n]) for n in range(1, len(m))))
texts = st.text("abc", max_size=40).map(str.encode)


def split(text: bytes, eof: bytes) -> tuple[list[bytes], bytes]:
    """The obvious way: what must come out, and what is left."""
    *whole, rest = text.split(eof)
    return [part + eof for part in whole], rest


@given(texts, marks, st.data())
def test_p1_p3_eof_split_does_not_depend_on_the_cuts(text, eof, data):
    """P1, P3: each packet comes out once, with its mark, wherever the stream is cut."""
    packets, _ = split(text, eof)

    assert run(Framing(open_eof_split=True, package_eof=eof), cut(text, data)) == (packets, False)


@given(texts, clear_marks, st.data())
def test_p4_eof_check_gives_whole_packets(text, eof, data):
    """P4: what comes out with open_eof_check is whole packets, and all of them at an end."""
    pieces = cut(text + eof, data)
    got, refused = run(Framing(open_eof_check=True, package_eof=eof), pieces)

    assert not refused
    assert all(packet.endswith(eof) for packet in got)
    assert b"".join(got) == text + eof


@given(texts, marks, st.integers(1, 12), st.data())
def test_p6_too_long_is_refused_whatever_the_cuts(text, eof, most, data):
    """P6: with EOF a packet over package_max_length is refused, and those before it are kept."""
    settings = Framing(open_eof_split=True, package_eof=eof, package_max_length=most)
    packets, rest = split(text, eof)
    bad = next((i for i, p in enumerate(packets) if len(p) > most), None)
    kept = packets if bad is None else packets[:bad]
    pieces = cut(text, data)

    assert run(settings, pieces) == (kept, bad is not None or len(rest) > most)


@given(texts, clear_marks, st.integers(1, 12), st.data())
def test_p6_too_long_with_the_tail_alone(text, eof, most, data):
    """P6, P4: open_eof_check refuses the same streams, and keeps the same bytes before."""
    packets, rest = split(text, eof)
    bad = next((i for i, p in enumerate(packets) if len(p) > most), None)
    kept = packets if bad is None else packets[:bad]
    pieces = cut(text, data)
    checked = Framing(open_eof_check=True, package_eof=eof, package_max_length=most)
    got, refused = run(checked, pieces)
    assert refused == (bad is not None or len(rest) > most)
    assert b"".join(kept).startswith(b"".join(got))
    assert all(len(packet) <= most for packet in got)
    if refused:
        assert b"".join(got) == b"".join(kept)


@given(
    st.sampled_from(sorted(CODES)),
    st.integers(0, 5),
    st.integers(0, 24),
    st.lists(st.integers(0, 100), max_size=6),
    st.data(),
)
def test_p2_p5_length_field(code, offset, body_offset, sizes, data):
    """P2, P5: packets are package_body_offset + length field, for every type of field."""
    field = struct.Struct(CODES[code])
    head = offset + field.size
    packets = []
    for size in sizes:
        total = max(body_offset, head) + size
        assume(total - body_offset <= 127)
        packets.append(b"#" * offset + field.pack(total - body_offset) + b"." * (total - head))
    rest = b"#" * data.draw(st.integers(0, head - 1))
    settings = Framing(
        open_length_check=True,
        package_length_type=code,
        package_length_offset=offset,
        package_body_offset=body_offset,
    )

    assert run(settings, cut(b"".join(packets) + rest, data)) == (packets, False)


@given(st.lists(st.integers(0, 60), max_size=6), st.integers(4, 40), st.booleans(), st.data())
def test_p6_too_long_by_its_field(sizes, most, with_body, data):
    """P6: a length field over the limit is refused before its body came; earlier ones are kept."""
    settings = Framing(open_length_check=True, package_max_length=most)
    whole = [struct.pack(">I", size) + b"." * size for size in sizes]
    bad = next((i for i, p in enumerate(whole) if len(p) > most), None)
    wire = b"".join(whole)
    if bad is not None and not with_body:
        wire = b"".join(whole[:bad]) + whole[bad][:4]
    kept = whole if bad is None else whole[:bad]

    assert run(settings, cut(wire, data)) == (kept, bad is not None)


@given(st.sampled_from("cslq"), st.integers(-100, -1), st.integers(0, 100), st.data())
def test_p7_a_negative_length_is_refused(code, length, body_offset, data):
    """P7: a negative length is refused, even where package_body_offset would make up for it."""
    settings = Framing(
        open_length_check=True, package_length_type=code, package_body_offset=body_offset
    )
    wire = struct.pack(CODES[code], length) + b"." * 200

    assert run(settings, cut(wire, data)) == ([], True)


def by_field(data: bytes, start: int) -> int:
    """What open_length_check does by itself."""
    return 4 + struct.unpack_from(">I", data, start)[0] if len(data) - start >= 4 else 0


@given(st.lists(st.integers(0, 60), max_size=6), st.integers(4, 40), st.data())
def test_p10_a_function_that_reads_the_field(sizes, most, data):
    """P10: the same packets and the same refusal as the length field gives, whatever the cuts."""
    wire = b"".join(struct.pack(">I", size) + b"." * size for size in sizes)
    expected = run(Framing(open_length_check=True, package_max_length=most), [wire])

    settings = Framing(package_length_func=by_field, package_max_length=most)
    assert run(settings, cut(wire, data)) == expected


@given(texts, marks, st.integers(1, 12), st.data())
def test_p10_a_function_that_looks_for_a_mark(text, eof, most, data):
    """P10: while it cannot tell, it is asked again; too much without an answer is refused."""

    def by_mark(data: bytes, start: int) -> int:
        at = data.find(eof, start)
        return 0 if at < 0 else at + len(eof) - start

    pieces = cut(text, data)
    expected = run(Framing(open_eof_split=True, package_eof=eof, package_max_length=most), pieces)
    assert run(Framing(package_length_func=by_mark, package_max_length=most), pieces) == expected


MODES = st.one_of(
    st.builds(Framing, open_eof_split=st.just(True), package_eof=marks),
    st.builds(Framing, open_eof_check=st.just(True), package_eof=marks),
    st.builds(
        Framing, open_length_check=st.just(True), package_length_type=st.sampled_from("nNvV")
    ),
    st.builds(Framing, package_length_func=st.just(by_field)),
).map(lambda framing: dataclasses.replace(framing, package_max_length=30))


@given(MODES, texts | st.binary(max_size=40), st.integers(0, pickle.HIGHEST_PROTOCOL), st.data())
def test_p11_a_pickled_framer_goes_on_in_the_middle_of_a_packet(settings, wire, protocol, data):
    """P11: also after it has refused something, and with every protocol."""
    pieces = cut(wire, data)
    assert pickle.loads(pickle.dumps(settings, protocol)) == settings
    expected = run(settings, pieces)

    got: list[bytes] = []
    framer = settings.framer()
    refused = False
    for piece in pieces:
        before = framer.pending
        twin = pickle.loads(pickle.dumps(framer, protocol))
        assert (type(twin), twin.pending, twin.rest) == (type(framer), before, framer.rest)
        try:
            got += twin.feed(piece)
        except PacketRefused as exc:
            got += exc.packets
            refused = True
        assert framer.pending == before, "the two are independent"
        framer = twin
    assert (got, refused) == expected


# ---- P8: cost, counted in bytes touched instead of seconds


class Work:
    touched = 0


class CountedBytes(bytes):
    """What is fed: counts what is searched and copied out of it."""

    def find(self, sub, start=0, end=None):
        at = super().find(sub, start, len(self) if end is None else end)
        last = min(len(self), end or len(self))
        Work.touched += (at + len(sub) if at >= 0 else last) - start
        return at

    def __getitem__(self, key):
        part = super().__getitem__(key)
        if isinstance(key, slice):
            Work.touched += len(part)
            return CountedBytes(part)
        return part


class CountedBuffer(bytearray):
    """What a framer holds: counts what is added, searched, copied out or moved in it."""

    def __iadd__(self, other):
        Work.touched += len(other)
        return super().__iadd__(other)

    def find(self, sub, start=0, end=None):
        at = super().find(sub, start, len(self) if end is None else end)
        Work.touched += (at if at >= 0 else len(self)) - start
        return at

    def __getitem__(self, key):
        part = super().__getitem__(key)
        if isinstance(key, slice):
            Work.touched += len(part)
        return part

    def __delitem__(self, key):
        Work.touched += len(self)
        super().__delitem__(key)


@pytest.mark.parametrize("mode", ["split", "check", "length"])
@pytest.mark.parametrize("step", [1, 7, 64, 4096, 1 << 20])
@pytest.mark.parametrize("size", [3, 1000, 60_000])
def test_p8_the_cost_is_linear(monkeypatch, mode, step, size):
    """P8: each byte is searched and copied a bounded number of times, however it comes in."""
    monkeypatch.setattr(framing, "bytearray", CountedBuffer, raising=False)
    eof = b"\r\n\r\n"
    if mode == "length":
        settings = Framing(open_length_check=True)
        packet = struct.pack(">I", size) + b"." * size
    else:
        settings = Framing(**{f"open_eof_{mode}": True})
        packet = b"." * size + eof
    wire = packet * (60_000 // size)
    framer = settings.framer()
    Work.touched = 0

    got = []
    for at in range(0, len(wire), step):
        got += framer.feed(CountedBytes(wire[at : at + step]))

    assert b"".join(got) == wire
    feeds = len(range(0, len(wire), step))
    assert Work.touched <= 6 * len(wire) + 2 * 8 * feeds

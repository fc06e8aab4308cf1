"""Cutting a stream into packets of 100 bytes, beside the least that Python can do."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ipckit.cli.bench.rounds import Rounds, Row, timed
from ipckit.framing import Framing

PACKETS, TURNS = 600, 200
LINES = (b"x" * 98 + b"\r\n") * PACKETS
LENGTHS = (struct.pack(">I", 96) + b"x" * 96) * PACKETS


def main() -> Iterator[Row]:
    """Measure: ns for a packet. (The server cuts whole packets in C; see `echo`.)"""
    eof = Framing(open_eof_split=True, package_eof=b"\r\n").framer()
    length = Framing(open_length_check=True).framer()
    assert eof is not None
    assert length is not None

    def split(turns: int) -> None:
        for _ in range(turns // PACKETS):
            LINES.split(b"\r\n")

    def slices(turns: int) -> None:
        for _ in range(turns // PACKETS):
            [LENGTHS[at : at + 100] for at in range(0, len(LENGTHS), 100)]

    def by_eof(turns: int) -> None:
        for _ in range(turns // PACKETS):
            eof.feed(LINES)

    def by_length(turns: int) -> None:
        for _ in range(turns // PACKETS):
            length.feed(LENGTHS)

    runs = {"eof": by_eof, "bytes.split": split, "length": by_length, "slicing": slices}
    found = Rounds({name: timed(run, TURNS * PACKETS) for name, run in runs.items()})
    yield found.row("a packet cut by EOF, in Python", "eof", "bytes.split", "ns")
    yield found.row("a packet cut by its length, in Python", "length", "slicing", "ns")

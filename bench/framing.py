"""Cutting a stream into packets of 100 bytes, beside the least that Python can do."""

from __future__ import annotations

import struct

from bench.rounds import Row, nanoseconds, shown
from ipckit.framing import Framing

PACKETS, TURNS = 600, 400
LINES = (b"x" * 98 + b"\r\n") * PACKETS
LENGTHS = (struct.pack(">I", 96) + b"x" * 96) * PACKETS


def main() -> list[Row]:
    """Measure and print: ns for a packet."""
    eof = Framing(open_eof_split=True, package_eof=b"\r\n").framer()
    length = Framing(open_length_check=True).framer()

    def split(turns: int) -> None:
        for _ in range(turns):
            LINES.split(b"\r\n")

    def slices(turns: int) -> None:
        for _ in range(turns):
            [LENGTHS[at : at + 100] for at in range(0, len(LENGTHS), 100)]

    def by_eof(turns: int) -> None:
        for _ in range(turns):
            eof.feed(LINES)

    def by_length(turns: int) -> None:
        for _ in range(turns):
            length.feed(LENGTHS)

    found = nanoseconds(
        {"split": split, "slices": slices, "eof": by_eof, "length": by_length}, TURNS
    )
    each = {name: value / PACKETS for name, value in found.items()}
    return shown(
        [
            Row("a packet by EOF, bytes.split", each["eof"], each["split"], "ns"),
            Row("a packet by its length, slicing", each["length"], each["slices"], "ns"),
        ]
    )

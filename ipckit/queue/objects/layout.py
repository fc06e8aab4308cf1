"""How an object lies in the body of a queue's message. Pure.

    pickle, or plain data                       a short one
    head | sizes | pickle | buffer | buffer     an array, say: its bytes are beside the pickle

    head    OUT_OF_BAND (1 byte), 3 of 0, number of buffers (u32), bytes of the pickle (u64)
    sizes   of each buffer (u64): its bytes << 1, and 1 if its owner may not write to it

A pickle of protocol 2 and later begins with 0x80, so the first byte tells the two apart. Pickle and
buffers begin at multiples of ALIGNMENT, so that an array may lie there.

Stands on struct. Numbers are of this machine's byte order: no other reads them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from ipckit.errors import ProtocolError

__all__ = ["ALIGNMENT", "LEAST_BUFFER", "OUT_OF_BAND", "Layout", "layout_of", "parse"]

OUT_OF_BAND = 1
ALIGNMENT = 64
"""Bytes: a cache line, and what vector instructions ask for."""
LEAST_BUFFER = 4096
"""Bytes: a smaller buffer is copied into the pickle."""

_HEAD = struct.Struct("=B3xIQ")
_SIZE = struct.Struct("=Q")


class Layout(NamedTuple):
    """Where the parts of a body begin and end."""

    head: bytes
    pickle: slice
    buffers: list[tuple[slice, bool]]
    """Each one's place, and whether it is read-only."""
    size: int


def layout_of(pickle_size: int, buffers: Iterable[tuple[int, bool]]) -> Layout:
    """Return the layout for a pickle of so many bytes, and buffers: bytes, whether read-only."""
    sizes = [*buffers]
    head = _HEAD.pack(OUT_OF_BAND, len(sizes), pickle_size)
    head += b"".join(_SIZE.pack(size << 1 | readonly) for size, readonly in sizes)
    return _places(head, pickle_size, sizes)


def parse(body: memoryview) -> Layout:
    """Return the layout of a body that begins with OUT_OF_BAND. ProtocolError: it is not whole."""
    if len(body) < _HEAD.size:
        raise _damaged(body)
    _, count, pickle_size = _HEAD.unpack_from(body)
    end = _HEAD.size + count * _SIZE.size
    if end > len(body):
        raise _damaged(body)
    sizes = [(word >> 1, bool(word & 1)) for (word,) in _SIZE.iter_unpack(body[_HEAD.size : end])]
    layout = _places(bytes(body[:end]), pickle_size, sizes)
    if layout.size != len(body):
        raise _damaged(body)
    return layout


def _places(head: bytes, pickle_size: int, sizes: list[tuple[int, bool]]) -> Layout:
    start = _aligned(len(head))
    end = start + pickle_size
    pickle = slice(start, end)
    buffers = []
    for size, readonly in sizes:
        start = _aligned(end)
        end = start + size
        buffers.append((slice(start, end), readonly))
    return Layout(head, pickle, buffers, end)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _damaged(body: memoryview) -> ProtocolError:
    return ProtocolError(f"{len(body)} bytes that are no object of an ObjectQueue")

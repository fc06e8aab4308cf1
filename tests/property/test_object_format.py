"""The layout of an object's body: parts are apart, aligned, and read as they were written."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ipckit.errors import ProtocolError
from ipckit.queue.objects.layout import ALIGNMENT, OUT_OF_BAND, layout_of, parse

sizes = st.integers(0, 3000)
buffers = st.lists(st.tuples(sizes, st.booleans()), max_size=6)


def written(pickle_size, parts) -> bytearray:
    """A body: each part is filled with a byte of its own."""
    layout = layout_of(pickle_size, parts)
    body = bytearray(layout.size)
    body[: len(layout.head)] = layout.head
    body[layout.pickle] = b"p" * pickle_size
    for number, (where, _) in enumerate(layout.buffers):
        body[where] = bytes([number + 1]) * (where.stop - where.start)
    return body


@given(sizes, buffers)
def test_what_is_written_is_read(pickle_size, parts):
    body = written(pickle_size, parts)
    assert body[0] == OUT_OF_BAND
    layout = parse(memoryview(body))
    assert layout == layout_of(pickle_size, parts)
    assert body[layout.pickle] == b"p" * pickle_size
    for number, ((where, readonly), part) in enumerate(zip(layout.buffers, parts, strict=True)):
        assert body[where] == bytes([number + 1]) * part[0] and readonly == part[1]
    for where in (layout.pickle, *(where for where, _ in layout.buffers)):
        assert where.start % ALIGNMENT == 0


@given(sizes, buffers, st.data())
def test_a_body_that_is_not_whole_is_refused(pickle_size, parts, data):
    body = written(pickle_size, parts)
    cut = data.draw(st.integers(1, len(body)))
    for other in (body[:-cut], body + b"x" * cut):
        other[:1] = bytes([OUT_OF_BAND])
        with pytest.raises(ProtocolError, match="no object of an ObjectQueue"):
            parse(memoryview(other))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    body = bytes([OUT_OF_BAND]) + body
    try:
        layout = parse(memoryview(body))
    except ProtocolError:
        return
    assert layout.size == len(body)

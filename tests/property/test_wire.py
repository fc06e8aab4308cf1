"""Frames: what goes in comes out."""

from __future__ import annotations

import os
import socket
import threading

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ipckit._pickle_codec import dump, load
from ipckit.server.messaging import wire
from ipckit.server.messaging.wire import HEAD_SIZE, Head, decode_head, encode_head

heads = st.builds(
    Head,
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
)


@given(heads, st.binary(max_size=100))
def test_heads_come_back(head, body):
    frame = encode_head(head) + body
    assert decode_head(frame) == head
    assert len(frame) == HEAD_SIZE + len(body)


class Thing:
    def __init__(self, inner):
        self.inner = inner


@pytest.mark.parametrize(
    ("data", "part", "kind"),
    [
        (lambda: 1, "data cannot", "function"),
        ({"conn": [1, 2, threading.Lock()]}, "data['conn'][2]", "lock"),
        ([{"a": (1, {"b": socket.socket})}, open(os.devnull)], "data[1]", "TextIOWrapper"),  # noqa: SIM115
        (Thing({"x": threading.Lock()}), "data.inner['x']", "lock"),
        ({(lambda: 1): 2}, "the key <function", "function"),
        ({1, 2, len, print} | {lambda: 0}, "an element of data", "function"),
    ],
)
def test_what_cannot_be_pickled_is_named(data, part, kind):
    with pytest.raises(TypeError) as refused:
        dump(data)
    assert part in str(refused.value) and kind in str(refused.value)
    for item in data if isinstance(data, list) else ():
        if hasattr(item, "close"):
            item.close()


@given(st.recursive(st.none() | st.integers() | st.binary() | st.text(), st.lists))
def test_data_comes_back(data):
    assert load(dump(data)) == data


def test_the_largest_frame_is_what_the_inbox_takes():
    assert HEAD_SIZE + wire.INLINE == wire.LARGEST == 32 * 1024

"""Any program of sends and receives at a real channel gives what a list would give."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from ipckit.channel import Channel
from ipckit.errors import WaitTimeout


@settings(max_examples=40)
@given(st.lists(st.none() | st.integers(0, 400_000), max_size=25))
def test_c2_c3_exactly_what_was_sent_arrives(program):
    """C2, C3: over any mix of sends and receives, the frames whose send returned arrive, no others."""
    one, other = Channel.pair()
    sent, got = [], []

    def receive():
        with contextlib.suppress(WaitTimeout):
            frame = other.receive_nowait()
            got.append((frame.ident, len(frame.body)))

    with one, other:
        for ident, size in enumerate(program):
            if size is None:
                receive()
                continue
            with contextlib.suppress(WaitTimeout):
                one.send_nowait(b"x" * size, ident=ident)
                sent.append((ident, size))
        while len(got) < len(sent):
            before = len(got)
            receive()
            assert len(got) > before
        receive()
    assert got == sent

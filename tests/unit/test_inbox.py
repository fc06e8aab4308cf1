"""Inboxes: whole frames of any size, in order, or none."""

from __future__ import annotations

import os
import select
import signal

import pytest
from descriptors import no_descriptors

from ipckit import SystemCallError
from ipckit.server.inbox import Inbox
from ipckit.server.wire import ATTACHED, INLINE, Head, Kind


@pytest.fixture
def inbox():
    made = Inbox()
    yield made
    made.close()


@pytest.mark.parametrize("size", [0, 1, INLINE - 1, INLINE, INLINE + 1, 1 << 20, 16 << 20])
def test_any_size_comes_whole(inbox, size):
    body = os.urandom(min(size, 4096)) * (size // 4096 + 1)
    head = Head(Kind.MESSAGE, 0, 3, 4, 5)
    before = len(os.listdir("/proc/self/fd"))
    assert inbox.post(head, body[:size])
    got, arrived = inbox.take()
    assert arrived == body[:size]
    assert got == head._replace(flags=ATTACHED if size > INLINE else 0)
    assert len(os.listdir("/proc/self/fd")) == before, "a descriptor was left"
    assert inbox.take() is None


def test_a_full_one_takes_nothing_and_loses_nothing(inbox):
    posted = 0
    while inbox.post(Head(Kind.MESSAGE, ident=posted), b"x" * 1000):
        posted += 1
    assert posted > 50
    assert not inbox.post(Head(Kind.MESSAGE), b"y" * 100_000)
    for number in range(posted):
        head, body = inbox.take()
        assert (head.ident, body) == (number, b"x" * 1000)
    assert inbox.take() is None


def test_writers_that_are_killed_leave_whole_frames(inbox):
    """Four writers, all killed in the middle of posting; sizes on both sides of INLINE."""
    children = []
    for writer in range(4):
        child = os.fork()
        if child == 0:
            number = 0
            while True:
                size = (1, 500, 30_000, 40_000)[number % 4]
                body = bytes([writer]) * size
                if inbox.post(Head(Kind.MESSAGE, sender=writer, ident=number, number=size), body):
                    number += 1
        children.append(child)
    try:
        expected = [0] * 4
        taken = 0
        while taken < 2000 or not all(expected):  # on a busy machine one begins late
            assert select.select([inbox.reading], [], [], 20)[0]
            taken += drain(inbox, expected)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    drain(inbox, expected)


def drain(inbox: Inbox, expected: list[int]) -> int:
    """Take all there is; every frame is whole, and each writer's are in order."""
    taken = 0
    while (frame := inbox.take()) is not None:
        head, body = frame
        assert body == bytes([head.sender]) * head.number
        assert head.ident == expected[head.sender]
        expected[head.sender] += 1
        taken += 1
    return taken


def test_a_large_body_without_a_descriptor_is_an_error_of_ours_and_nothing_is_sent(inbox):
    """P7: memfd_create(2) fails."""
    with (
        no_descriptors(),
        pytest.raises(SystemCallError, match="memfd_create: Too many open files"),
    ):
        inbox.post(Head(Kind.MESSAGE), b"x" * (2 * INLINE))
    assert inbox.take() is None

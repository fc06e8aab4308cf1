"""Inboxes: whole frames of any size, in order, or none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import select
import signal
import time
from pathlib import Path

import pytest
from deadlines import LOOK
from descriptors import few_descriptors, no_descriptors, open_descriptors

from ipckit import SystemCallError
from ipckit.server.messaging.inbox import Inbox
from ipckit.server.messaging.inbox_reader import InboxReader
from ipckit.server.messaging.wire import ATTACHED, INLINE, Head, Kind


@pytest.fixture(params=[False, True], ids=["own", "shared"])
def inbox(request):
    made = Inbox(shared=request.param)
    yield made
    made.close()


@pytest.mark.parametrize("size", [0, 1, INLINE - 1, INLINE, INLINE + 1, 1 << 20, 16 << 20])
def test_any_size_comes_whole(inbox, size):
    body = os.urandom(min(size, 4096)) * (size // 4096 + 1)
    head = Head(Kind.MESSAGE, 0, 3, 4, 5)
    before = open_descriptors()
    assert inbox.post(head, body[:size])
    got, arrived = inbox.take()
    assert arrived == body[:size]
    assert got == head._replace(flags=ATTACHED if size > INLINE else 0)
    assert open_descriptors() == before, "a descriptor was left"
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
            assert select.select([inbox.reading], [], [], LOOK)[0]
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


@pytest.mark.parametrize("size", [10, 2 * INLINE])
@pytest.mark.parametrize("with_fd", [False, True])
@pytest.mark.parametrize("free", [0, 1])
def test_f12_a_frame_for_whose_descriptors_there_is_no_room_waits(inbox, size, with_fd, free):
    """F12: it stays the oldest one, whole, and no descriptor is left open by the attempts."""
    wanted = with_fd + (size > INLINE)
    body = os.urandom(16) * (size // 16)
    reading, writing = os.pipe()
    if with_fd:
        assert inbox.post_with(Head(Kind.TAKE, ident=7), body, writing)
    else:
        assert inbox.post(Head(Kind.MESSAGE, ident=7), body)
    assert inbox.post(Head(Kind.MESSAGE, ident=8), b"behind it")
    before = open_descriptors()
    with few_descriptors(free):
        for _ in range(3):
            if wanted > free:
                assert inbox.take() is None
                assert inbox.blocked
    assert open_descriptors() == before
    head, got = inbox.take()
    assert (head.ident, got, inbox.blocked) == (7, body, False)
    if with_fd:
        os.write(head.number, b"x")
        assert os.read(reading, 9) == b"x"
        os.close(head.number)
    assert inbox.take() == (Head(Kind.MESSAGE, ident=8), b"behind it")
    assert inbox.take() is None
    assert not inbox.blocked
    os.close(reading)
    os.close(writing)
    assert len(open_descriptors()) == len(before) - 2


@contextlib.contextmanager
def little_memory(room):
    """Inside it there is address space for so many bytes beside what this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_frame_for_whose_body_there_is_no_memory_waits(inbox):
    """It stays the oldest one, whole, and no descriptor is left open by the attempts."""
    body = b"x" * (64 << 20)
    assert inbox.post(Head(Kind.MESSAGE, ident=7), body)
    assert inbox.post(Head(Kind.MESSAGE, ident=8), b"behind it")
    before = open_descriptors()
    with little_memory(1 << 20):
        found = [inbox.take() for _ in range(3)]
        blocked = inbox.blocked
    assert found == [None, None, None]
    assert blocked
    assert open_descriptors() == before
    head, got = inbox.take()
    assert (head.ident, len(got), inbox.blocked) == (7, len(body), False)
    assert inbox.take() == (Head(Kind.MESSAGE, ident=8), b"behind it")
    assert open_descriptors() == before


def test_a_call_that_fails_is_named(inbox):
    inbox.reading.close()
    with pytest.raises(SystemCallError, match="recvmsg"):
        inbox.take()


def test_f12_a_connection_that_is_not_wanted_needs_no_descriptor(inbox):
    """F12: the manager has a copy of each."""
    assert inbox.post_with(Head(Kind.TAKE, ident=7), b"x" * 2 * INLINE, 0)
    before = open_descriptors()
    with no_descriptors():
        head, body = inbox.take(connections=False)
        assert (head.ident, body) == (7, b"")
        assert inbox.take(connections=False) is None
        assert not inbox.blocked
    assert open_descriptors() == before


def test_f12_a_blocked_inbox_is_looked_at_again_after_a_pause_and_not_before(inbox):
    """F12: the socket stays readable during the pause, and the loop does not spin."""
    loop = asyncio.new_event_loop()
    frames = []

    def ready():
        frame = inbox.take()
        frames.append(frame)
        reader.pause_if_blocked()
        if frame is not None:
            loop.stop()

    reader = InboxReader(loop, inbox, ready)
    inbox.post(Head(Kind.MESSAGE), b"x" * 2 * INLINE)
    with no_descriptors():
        while not frames:
            loop.call_soon(loop.stop)
            loop.run_forever()
        assert not loop.remove_reader(inbox.reading.fileno())
        for _ in range(100):
            loop.call_soon(loop.stop)
            loop.run_forever()
        assert set(frames) == {None}
    looks = len(frames)
    began = time.monotonic()
    loop.call_later(LOOK, loop.stop)
    loop.run_forever()
    assert frames[-1] is not None
    assert len(frames) <= looks + 2
    assert time.monotonic() < began + LOOK
    reader.close()
    assert not loop.remove_reader(inbox.reading.fileno())
    loop.close()


def test_two_readers_of_a_shared_one_get_each_frame_once_and_whole():
    """As when a task worker is replaced: F12 must not mix one frame's head with another's body."""
    inbox = Inbox(shared=True)
    count = 400
    reading, writing = os.pipe()
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os.close(reading)
            while True:
                frame = inbox.take()
                if frame is None:
                    select.select([inbox.reading], [], [], LOOK)
                    continue
                head, body = frame
                if not head.number:
                    os._exit(0)
                whole = body == bytes([head.ident % 256]) * head.number
                os.write(writing, b"%d %d\n" % (head.ident, whole))
        children.append(child)
    os.close(writing)
    for number in range(count):
        size = (1, INLINE + 1, 300)[number % 3]
        frame = Head(Kind.MESSAGE, ident=number, number=size), bytes([number % 256]) * size
        while not inbox.post(*frame):
            select.select([], [inbox.writing], [], LOOK)
    for _ in children:
        while not inbox.post(Head(Kind.MESSAGE)):
            select.select([], [inbox.writing], [], LOOK)
    with open(reading) as file:
        assert sorted(file, key=lambda line: int(line.split()[0])) == [
            f"{number} 1\n" for number in range(count)
        ]
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    inbox.close()

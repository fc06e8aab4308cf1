"""What waits for another slot's inboxes: one line for both places, a bound, and dead places."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from deadlines import LOOK
from descriptors import no_descriptors

from ipckit import QueueFull, SystemCallError
from ipckit.server.messaging.inbox import Inbox
from ipckit.server.messaging.outbox import Outbox
from ipckit.server.messaging.wire import FORWARDED, INLINE, Head, Kind
from ipckit.server.shared.scoreboard import Row

SEND = Head(Kind.SEND, ident=7)
PASSED_ON = SEND._replace(flags=FORWARDED)
BODY = b"x" * 1000


@pytest.fixture
def slot():
    """What an outbox sees of its worker; two real inboxes, both are read."""
    loop = asyncio.new_event_loop()
    rows = [[0] * Row.WORDS, [0] * Row.WORDS]
    for row in rows:
        row[Row.READS] = 1
    inboxes = [Inbox(), Inbox()]
    yield SimpleNamespace(
        loop=loop,
        inboxes=inboxes,
        board=SimpleNamespace(row=lambda _slot, parity: rows[parity]),
        rows=rows,
    )
    loop.close()
    for inbox in inboxes:
        inbox.close()


def outbox_of(slot: SimpleNamespace, most: int) -> Outbox:
    return Outbox(slot.inboxes, slot.board, slot.loop, most)


def fill(inbox: Inbox) -> int:
    count = 0
    while inbox.post(SEND, BODY):
        count += 1
    return count


def bodies(inbox: Inbox) -> list[bytes]:
    found = []
    while (frame := inbox.take()) is not None:
        found.append(frame[1])
    return found


def test_what_is_for_the_successor_waits_behind_what_is_for_the_predecessor(slot):
    outbox, (first, second) = outbox_of(slot, 1000), slot.inboxes
    count = fill(first)
    outbox.post(0, SEND, b"first")
    outbox.post(1, SEND, b"second")
    assert outbox.waiting and outbox.own == 2 and second.take() is None
    assert bodies(first) == [BODY] * count
    outbox.flush()
    assert not outbox.waiting and outbox.own == 0
    assert (bodies(first), bodies(second)) == ([b"first"], [b"second"])


def test_own_frames_are_bounded_and_those_of_others_are_not(slot):
    outbox, (inbox, _) = outbox_of(slot, 1500), slot.inboxes
    count = fill(inbox)
    for _ in range(2):
        outbox.post(0, SEND, BODY)
    with pytest.raises(QueueFull, match="socket_buffer_size is 1500"):
        outbox.post(0, SEND, b"refused")
    outbox.post(0, PASSED_ON, b"passed on")
    outbox.post(0, Head(Kind.CATCH_UP, ident=7), b"")
    assert outbox.own == 3
    assert len(bodies(inbox)) == count
    outbox.flush()
    assert bodies(inbox) == [BODY, BODY, b"passed on", b""]


def test_a_frame_for_a_place_that_nobody_reads_is_made_known_before_the_next(slot):
    outbox, (dead, successor) = outbox_of(slot, 1000), slot.inboxes
    slot.rows[0][Row.READS] = 0
    outbox.post(0, SEND, b"late")
    outbox.post(1, SEND, b"next")
    assert bodies(dead) == [b"late"]
    (told, _), (after, body) = successor.take(), successor.take()
    assert (told.kind, told.number, after.kind, body) == (Kind.DRAIN, 1, Kind.SEND, b"next")


def test_it_is_made_known_when_there_is_room_for_that(slot):
    outbox, (dead, successor) = outbox_of(slot, 1000), slot.inboxes
    slot.rows[0][Row.READS] = 0
    count = fill(successor)
    outbox.post(0, SEND, b"late")
    outbox.post(1, SEND, b"next")
    assert bodies(dead) == [b"late"] and outbox.waiting
    assert len(bodies(successor)) == count
    outbox.flush()
    (told, _), (_, body) = successor.take(), successor.take()
    assert (told.kind, body, outbox.waiting) == (Kind.DRAIN, b"next", False)


def test_what_waits_can_be_taken_back(slot):
    outbox, (inbox, _) = outbox_of(slot, 1000), slot.inboxes
    count = fill(inbox)
    outbox.post(0, SEND, b"mine")
    assert [body for _, _, body in outbox.take_back()] == [b"mine"]
    assert not outbox.waiting and len(bodies(inbox)) == count


def test_a_large_frame_waits_for_a_descriptor_and_an_own_one_is_refused(slot):
    """P7: what is passed on for others is not lost; what is our own was not taken."""
    outbox, (first, _) = outbox_of(slot, 1 << 20), slot.inboxes
    large = b"y" * (2 * INLINE)
    with no_descriptors():
        with pytest.raises(SystemCallError, match="memfd_create: Too many open files"):
            outbox.post(0, SEND, large)
        assert not outbox.waiting
        outbox.post(0, PASSED_ON, large)
        outbox.post(0, SEND, b"behind it")
        outbox.flush()
        assert first.take() is None
    slot.loop.run_until_complete(asyncio.wait_for(outbox.flushed(), LOOK))
    assert bodies(first) == [large, b"behind it"]

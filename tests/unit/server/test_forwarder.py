"""What the manager passes on of a dead worker: all of it, in order, then DRAIN; also without a free
descriptor in the manager.
"""

from __future__ import annotations

import pytest
from descriptors import no_descriptors, open_descriptors

from ipckit import SystemCallError
from ipckit.server.messaging.inbox import Inbox
from ipckit.server.messaging.wire import FORWARDED, INLINE, Head, Kind
from ipckit.server.supervision.forwarder import Forwarder

DEAD, HEIR = 0, 1


@pytest.fixture
def inboxes():
    made = [Inbox(), Inbox()]
    yield made
    for inbox in made:
        inbox.close()


def kinds(inbox: Inbox) -> list[tuple[int, int, int]]:
    """Take all there is: kind, flag, length of the body."""
    found = []
    while (frame := inbox.take()) is not None:
        found.append((frame[0].kind, frame[0].flags & FORWARDED, len(frame[1])))
    return found


def test_all_is_passed_on_and_then_drained(inboxes):
    forwarder = Forwarder(inboxes, print)
    inboxes[DEAD].post(Head(Kind.SEND), b"small")
    inboxes[DEAD].post_with(Head(Kind.TAKE), b"", 0)
    inboxes[DEAD].post(Head(Kind.SEND), b"x" * 2 * INLINE)
    before = open_descriptors()
    forwarder.pass_on(DEAD, HEIR)
    assert not forwarder.waiting
    assert kinds(inboxes[HEIR]) == [
        (Kind.SEND, FORWARDED, 5),
        (Kind.SEND, FORWARDED, 2 * INLINE),
        (Kind.DRAIN, 0, 0),
    ]
    assert open_descriptors() == before
    forwarder.finish(DEAD)


def test_f12_without_a_descriptor_it_goes_on_later_and_nobody_is_told_that_there_is_no_more(
    inboxes,
):
    """F12: and no new process gets the place before."""
    notes = []
    forwarder = Forwarder(inboxes, lambda *note: notes.append(note))
    inboxes[DEAD].post_with(Head(Kind.TAKE), b"", 0)
    inboxes[DEAD].post(Head(Kind.SEND), b"first")
    inboxes[DEAD].post(Head(Kind.SEND), b"x" * 2 * INLINE)
    inboxes[DEAD].post(Head(Kind.SEND), b"last one")
    with no_descriptors():
        forwarder.pass_on(DEAD, HEIR)
        forwarder.run()
        assert forwarder.waiting
        assert kinds(inboxes[HEIR]) == [(Kind.SEND, FORWARDED, 5)]
        with pytest.raises(SystemCallError, match="still to be passed on"):
            forwarder.finish(DEAD)
    forwarder.finish(DEAD)
    assert not forwarder.waiting
    assert kinds(inboxes[HEIR]) == [
        (Kind.SEND, FORWARDED, 2 * INLINE),
        (Kind.SEND, FORWARDED, 8),
        (Kind.DRAIN, 0, 0),
    ]
    assert not notes


def test_frames_without_room_are_posted_later_in_order(inboxes):
    forwarder = Forwarder(inboxes, print)
    count = 0
    while not forwarder.waiting:
        forwarder.tell(HEIR, Head(Kind.SEND, number=count % 1000), b"x" * 1000)
        count += 1
    forwarder.tell(HEIR, Head(Kind.DRAIN))
    taken = []
    while forwarder.waiting:
        taken += kinds(inboxes[HEIR])
        forwarder.run()
    taken += kinds(inboxes[HEIR])
    assert taken == [(Kind.SEND, 0, 1000)] * count + [(Kind.DRAIN, 0, 0)]

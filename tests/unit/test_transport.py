"""The roads of tasks: who may take what, and what becomes of foreign, forged, empty and large messages."""

from __future__ import annotations

import inspect
import os
import select
import sys

import pytest

from ipckit.kinds import ANY_TASK_WORKER
from ipckit.queue import SysvQueue
from ipckit.server.inbox import Inbox
from ipckit.server.spill import SpillDirectory
from ipckit.server.transport import OWN, ForeignMessage, OwnMessage, QueueRoad, SocketRoad
from ipckit.server.wire import SPILLED, Head, Kind, encode_head, seal

KEY = bytes(range(32))
ELSE = bytes(32)
WORKERS = 3
WAIT = 10  # seconds


def head(number: int) -> Head:
    return Head(Kind.TASK, 0, 1, 2, number, 3)


class Roads:
    """One queue, and a road for each task worker, as the forks of one server have them."""

    def __init__(self, path: str, *, contended: bool) -> None:
        self.queue = SysvQueue.create()
        self.contended = contended
        self.spill = SpillDirectory(path)
        self.sending = self.make()
        self.taking = [self.make() for _ in range(WORKERS)]
        self.fds = [list(road.open_taking(number)) for number, road in enumerate(self.taking)]

    def make(self) -> QueueRoad:
        return QueueRoad(self.queue, WORKERS, self.spill, KEY, contended=self.contended)

    def readable(self, number: int, seconds: float = 0) -> bool:
        return bool(select.select(self.fds[number], [], [], seconds)[0])

    def close(self) -> None:
        for road in self.taking:
            road.close()
        self.sending.remove()


@pytest.fixture(params=[False, True], ids=["addressed", "contended"])
def roads(request, tmp_path):
    made = Roads(str(tmp_path / "run"), contended=request.param)
    yield made
    made.close()


@pytest.fixture
def addressed(tmp_path):
    made = Roads(str(tmp_path / "run"), contended=False)
    yield made
    made.close()


@pytest.fixture
def contended(tmp_path):
    made = Roads(str(tmp_path / "run"), contended=True)
    yield made
    made.close()


# -- our own messages ---


def test_a_task_for_any_is_taken_by_one(roads):
    assert roads.sending.send(head(7), b"body", -1)
    assert roads.taking[2].take(foreign=False) == OwnMessage(head(7), b"body")
    assert [road.take(foreign=True) for road in roads.taking] == [None] * WORKERS


def test_a_task_for_one_is_taken_by_that_one(addressed):
    for dst in range(WORKERS):
        assert addressed.sending.send(head(dst), b"", dst)
    for number in (2, 0, 1):
        assert addressed.taking[number].take(foreign=True) == OwnMessage(head(number), b"")
        assert addressed.taking[number].take(foreign=True) is None


def test_contended_an_address_is_a_wish(contended):
    assert contended.sending.send(head(1), b"", 1)
    assert contended.taking[0].take(foreign=False) == OwnMessage(head(1), b"")


def test_who_may_take_what(addressed, contended):
    everybody = range(WORKERS)
    assert addressed.sending.readers(-1) == contended.sending.readers(-1) == everybody
    assert (addressed.sending.readers(1), contended.sending.readers(1)) == (range(1, 2), everybody)
    assert {addressed.sending.lane(dst) for dst in (-1, 0, 2)} == {0}
    assert addressed.sending.room_fd(0) == -1


def test_tasks_are_taken_in_order(roads):
    for number in range(20):
        assert roads.sending.send(head(number), b"", -1)
    taken = [roads.taking[number % WORKERS].take(foreign=True) for number in range(20)]
    assert [message.head.ident for message in taken] == list(range(20))


def test_both_choices_of_a_task_worker_get_their_turn(addressed):
    """Its own messages cannot starve those for any, nor the other way round."""
    for number in range(10):
        addressed.sending.send(head(number), b"", 0)
        addressed.sending.send(head(100 + number), b"", -1)
    first = [addressed.taking[0].take(foreign=False).head.ident for _ in range(6)]
    assert len([ident for ident in first if ident >= 100]) == 3


def test_a_full_queue_takes_nothing(roads):
    sent = 0
    while roads.sending.send(head(sent), b"x" * 1000, -1):
        sent += 1
    assert 5 < sent < 20 and len(roads.queue) == sent
    assert not roads.sending.send(head(sent), b"x" * 1000, -1)
    assert len(roads.queue) == sent
    assert roads.taking[0].take(foreign=False).head.ident == 0
    assert roads.sending.send(head(sent), b"x" * 1000, -1)


def test_waiting_tells_of_messages_that_are_there_and_that_come(roads):
    road = roads.taking[1]
    road.prepare_wait(foreign=True)
    assert not roads.readable(1)
    assert roads.sending.send(head(1), b"", -1)
    assert roads.readable(1, WAIT), "a message that came"
    road.prepare_wait(foreign=True)
    assert roads.readable(1, WAIT), "a message that is there"
    assert road.take(foreign=False) == OwnMessage(head(1), b"")
    road.prepare_wait(foreign=True)
    if roads.readable(1):  # a relay saw the message just before it was taken
        road.prepare_wait(foreign=True)
    roads.queue.send_nowait(b"i:1;", type=ANY_TASK_WORKER)
    assert roads.readable(1, WAIT), "a foreign one"


# -- long bodies ---


@pytest.mark.parametrize("size", [8000, 9000, 1 << 20])
def test_a_body_of_any_size_comes_whole(roads, size):
    body = os.urandom(size)
    assert roads.sending.send(head(5), body, -1)
    taken = roads.taking[0].take(foreign=False)
    assert taken.body == body and taken.head.ident == 5
    spilled = size > 8100
    assert bool(taken.head.flags & SPILLED) == spilled
    assert os.listdir(roads.spill.path) == (["task-5"] if spilled else [])
    roads.sending.forget(5)
    roads.sending.forget(5)
    assert os.listdir(roads.spill.path) == []


def test_two_of_the_longest_messages_fit(roads):
    """Else one long body could wait for ever beside another."""
    most = roads.sending._most
    assert roads.sending.send(head(1), b"x" * most, -1)
    assert roads.sending.send(head(2), b"x" * most, -1)
    assert os.listdir(roads.spill.path) == []


def test_a_second_copy_of_a_task_that_is_over_is_passed_by(roads):
    for _ in range(3):
        assert roads.sending.send(head(5), b"x" * 10_000, -1)
    assert roads.sending.send(head(6), b"y" * 10_000, -1)
    assert roads.taking[0].take(foreign=False).body == b"x" * 10_000
    roads.sending.forget(5)
    assert roads.taking[0].take(foreign=False) == OwnMessage(
        head(6)._replace(flags=SPILLED, number=10_000), b"y" * 10_000
    )
    assert roads.taking[0].take(foreign=False) is None


def test_hundreds_of_copies_are_passed_by(roads):
    """After a death all tasks are sent again; what they spilled may be over before the copies."""
    copies = 0
    while roads.sending.send(head(5), b"x" * 10_000, -1):
        copies += 1
    assert copies > 200
    roads.sending.forget(5)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(
        len(inspect.stack()) + 100
    )  # as a queue of a megabyte meets the usual one
    try:
        assert roads.taking[0].take(foreign=False) is None
    finally:
        sys.setrecursionlimit(limit)
    assert len(roads.queue) == 0


# -- messages of others ---


@pytest.mark.parametrize("kind", [1, ANY_TASK_WORKER])
def test_a_foreign_message_is_taken_only_if_allowed(roads, kind):
    roads.queue.send_nowait(b"i:5;", type=kind)
    assert roads.taking[0].take(foreign=False) is None
    assert len(roads.queue) == 1
    assert roads.taking[0].take(foreign=True) == ForeignMessage(kind, b"i:5;")


def test_an_addressed_foreign_message_is_for_one(addressed):
    addressed.queue.send_nowait(b"i:5;", type=2)
    assert addressed.taking[0].take(foreign=True) is None
    assert addressed.taking[1].take(foreign=True) == ForeignMessage(2, b"i:5;")


@pytest.mark.parametrize("kind", [1, 7, 2**31 - 2, ANY_TASK_WORKER])
def test_contended_any_type_will_do(contended, kind):
    contended.queue.send_nowait(b"i:5;", type=kind)
    assert contended.taking[2].take(foreign=True).body == b"i:5;"
    assert contended.sending.take_unserved() is None


def forgeries() -> dict[str, bytes]:
    frame = encode_head(Head(Kind.TASK, ident=1)) + b"cos\nsystem\n"
    right = seal(KEY, frame)
    return {
        "another key": seal(ELSE, frame),
        "a changed body": right[:-1] + b"X",
        "a changed head": right[:30] + b"\xff" + right[31:],
        "cut": right[:-1],
        "no head": right[:30],
        "the frame alone": frame,
        "the sign alone": right[:8],
    }


@pytest.mark.parametrize("message", [*forgeries().values()], ids=[*forgeries()])
@pytest.mark.parametrize("kind", [1, OWN, OWN + 1, ANY_TASK_WORKER])
def test_a_forgery_is_foreign(addressed, message, kind):
    """And under a type of ours it is refused; nothing of it is unpickled."""
    addressed.queue.send_nowait(message, type=kind)
    taken = addressed.taking[0].take(foreign=True)
    assert isinstance(taken, ForeignMessage) and taken[:2] == (kind, message)
    assert bool(taken.refuse) == (kind in {OWN, OWN + 1})


def test_a_copy_of_our_own_is_our_own(roads):
    """Under whatever type it lies; the task's word decides who runs it."""
    roads.sending.send(head(1), b"body", -1)
    copy = roads.queue.receive_nowait()
    for kind in (1, ANY_TASK_WORKER):
        roads.queue.send_nowait(copy.body, type=kind)
        assert roads.taking[0].take(foreign=True) == OwnMessage(head(1), b"body")


@pytest.mark.parametrize("kind", [1, ANY_TASK_WORKER])
def test_an_empty_message_is_refused(roads, kind):
    roads.queue.send_nowait(b"", type=kind)
    taken = roads.taking[0].take(foreign=True)
    assert taken == ForeignMessage(kind, b"", "an empty message is no task")


@pytest.mark.parametrize("kind", [1, ANY_TASK_WORKER])
def test_an_empty_message_that_a_relay_took_is_told_once(roads, kind):
    """Only the kernel's own limits make a relay take it; it is refused, not lost."""
    road = roads.taking[0]
    road.prepare_wait(foreign=True)
    roads.queue.send_nowait(b"", type=kind)
    assert roads.readable(0, WAIT)
    road.prepare_wait(foreign=False)
    assert road.take(foreign=False) == ForeignMessage(kind, b"", "an empty message is no task")
    assert road.take(foreign=True) is None and len(roads.queue) == 0


# -- types that nobody serves ---


@pytest.mark.parametrize("kind", [WORKERS + 1, 2**30 - 1, OWN + WORKERS + 1, ANY_TASK_WORKER - 1])
def test_a_type_that_nobody_serves_is_found(addressed, kind):
    """Wherever it lies among messages that are served."""
    for number in range(3):
        addressed.sending.send(head(number), b"", number)
    addressed.queue.send_nowait(b"i:1;", type=kind)
    for served in (1, WORKERS, ANY_TASK_WORKER):
        addressed.queue.send_nowait(b"i:2;", type=served)
    found = addressed.sending.take_unserved()
    assert found[:2] == (kind, b"i:1;")
    assert f"type {kind}" in found.refuse and f"1..{WORKERS}" in found.refuse
    assert addressed.sending.take_unserved() is None
    assert len(addressed.queue) == 6


def test_every_type_that_is_served_has_a_taker(addressed):
    """What take_unserved() leaves, somebody takes."""
    kinds = [*range(1, WORKERS + 1), OWN, *range(OWN + 1, OWN + WORKERS + 1), ANY_TASK_WORKER]
    for kind in kinds:
        addressed.queue.send_nowait(b"i:1;", type=kind)
    assert addressed.sending.take_unserved() is None
    taken = []
    for road in addressed.taking:
        while (message := road.take(foreign=True)) is not None:
            taken.append(message.type)
    assert sorted(taken) == sorted(kinds)


# -- the end ---


def test_remove_leaves_nothing(tmp_path):
    made = Roads(str(tmp_path / "run"), contended=False)
    made.sending.send(head(1), b"x" * 10_000, -1)
    threads = len(os.listdir("/proc/self/task"))
    assert threads > 4 * WORKERS, "four relays for each task worker"
    made.close()
    assert os.listdir(tmp_path / "run") == []
    with pytest.raises(OSError):
        made.queue.send_nowait(b"x")


def test_a_removed_queue_is_no_trouble_at_the_end(tmp_path):
    made = Roads(str(tmp_path / "run"), contended=True)
    SysvQueue.open_id(made.queue.id).remove()
    made.close()
    assert os.listdir(tmp_path / "run") == []


# -- sockets ---


@pytest.fixture
def sockets():
    inboxes = [Inbox() for _ in range(WORKERS)]
    made = SocketRoad(inboxes)
    yield made, inboxes
    made.remove()
    for inbox in inboxes:
        inbox.close()


def test_sockets_for_one_and_for_any(sockets):
    road, inboxes = sockets
    (fd,) = road.open_taking(1)
    assert road.send(head(1), b"to one", 2) and road.send(head(2), b"to any", -1)
    assert select.select([fd], [], [], WAIT)[0]
    assert [inbox.take() for inbox in inboxes] == [None, None, (head(1), b"to one")]
    assert road.take(foreign=True) == OwnMessage(head(2), b"to any")
    assert road.take(foreign=True) is None
    assert (road.readers(2), road.readers(-1)) == (range(2, 3), range(WORKERS))
    assert [road.lane(dst) for dst in (-1, 0, 2)] == [-1, 0, 2]


def test_a_full_socket_says_when_there_is_room(sockets):
    road, inboxes = sockets
    for dst, take in ((1, inboxes[1].take), (-1, lambda: road.take(foreign=False))):
        sent = 0
        while road.send(head(sent), b"x" * 5000, dst):
            sent += 1
        assert sent > 5
        room = [road.room_fd(dst)]
        assert not select.select([], room, [], 0)[1]
        assert road.send(head(0), b"", 0), "another lane has room"
        inboxes[0].take()
        while take() is not None:
            sent -= 1
        assert sent == 0
        assert select.select([], room, [], WAIT)[1]


def test_large_bodies_travel_by_socket_too(sockets):
    road, _ = sockets
    body = os.urandom(100_000)
    assert road.send(head(1), body, -1)
    taken = road.take(foreign=False)
    assert taken.body == body and taken.head.ident == 1

"""QueueRelay: waits without taking, tells what it met, and leaves no thread or descriptor."""

from __future__ import annotations

import gc
import os
import select
import signal
import threading
from time import monotonic

import pytest
from deadlines import LOOK
from descriptors import open_descriptors

from ipckit.errors import MisuseError
from ipckit.queue import QueueRelay, Seen, SysvQueue, Wakeup


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def threads_fall_to(number: int) -> bool:
    """Whether so few are left soon: the kernel takes a moment after a join."""
    deadline = monotonic() + LOOK
    while threads() > number and monotonic() < deadline:
        os.sched_yield()
    return threads() <= number


def readable(relay, timeout=LOOK) -> bool:
    return bool(select.select([relay.fileno()], [], [], timeout)[0])


@pytest.fixture
def queue():
    queue = SysvQueue.create()
    yield queue
    SysvQueue.open_id(queue.id).remove() if exists(queue) else None
    queue.close()


def exists(queue) -> bool:
    try:
        queue.statistics()
    except OSError:
        return False
    return True


@pytest.fixture
def relay(queue):
    relay = QueueRelay(queue.id)
    yield relay
    relay.close()


def test_a_message_wakes_and_stays(queue, relay):
    """Once for each arm(); the message stays, and arming again tells it again."""
    relay.arm()
    assert relay.collect() == Wakeup(Seen.NOTHING)
    queue.send_nowait(b"x", type=7)
    for _ in range(3):
        assert readable(relay)
        assert relay.collect() == (Seen.MESSAGE, 0)
        assert len(queue) == 1
        assert not readable(relay, 0)
        relay.arm()
    assert readable(relay)


def test_a_message_that_was_there_before(queue, relay):
    """Level-triggered by the queue."""
    queue.send_nowait(b"x")
    assert not readable(relay, 0.02), "not armed yet"
    relay.arm()
    assert readable(relay)


def test_only_the_choice_wakes(queue):
    """By type, by exclusion, by the lowest."""
    cases = [({"type": 2}, 1, 2), ({"type": 2, "exclude": True}, 2, 3), ({"type": -2}, 3, 1)]
    for choice, other, wanted in cases:
        relay = QueueRelay(queue.id, **choice)
        relay.arm()
        queue.send_nowait(b"x", type=other)
        assert not readable(relay, 0.02)
        queue.send_nowait(b"x", type=wanted)
        assert readable(relay)
        relay.close()
        queue.receive_nowait()
        queue.receive_nowait()


def test_an_empty_message_is_handed_over(queue, relay):
    """It cannot be left there; collect() gives its type, once, and arm() does not lose it."""
    relay.arm()
    queue.send_nowait(b"", type=2**40)
    assert readable(relay)
    assert len(queue) == 0
    relay.arm()
    assert relay.collect() == (Seen.EMPTY, 2**40)
    assert relay.collect() == (Seen.NOTHING, 0)


def test_close_puts_an_empty_message_back(queue, relay):
    relay.arm()
    queue.send_nowait(b"", type=6)
    assert readable(relay)
    relay.close()
    assert queue.receive_nowait() == (6, b"")


def test_removal(queue, relay):
    """GONE, before arming as well as while it waits."""
    relay.arm()
    queue.remove()
    for _ in range(2):
        assert readable(relay)
        assert relay.collect().seen is Seen.GONE
        relay.arm()


def test_disarmed_it_takes_nothing(queue, relay):
    """An empty message sent after disarm() stays in the queue."""
    for _ in range(100):
        relay.arm()
        relay.disarm()
        queue.send_nowait(b"")
        assert relay.collect().seen is Seen.NOTHING
        assert queue.receive_nowait().body == b""


def test_close_is_quick_and_leaves_nothing(queue):
    """In every state: resting, just armed, waiting, with something to collect.

    Quick: nothing is waited for but the end of a thread, which is timed beside.
    """
    before, files = threads(), open_descriptors()
    closing = ending = 0.0
    for turn in range(200):
        relay = QueueRelay(queue.id)
        if turn % 4:
            relay.arm()
        if turn % 4 == 2:
            assert not readable(relay, 0.001)
        if turn % 4 == 3:
            queue.send_nowait(b"x")
            assert readable(relay)
            queue.receive_nowait()
        began = monotonic()
        relay.close()
        closing += monotonic() - began
        relay.close()
        assert relay.fileno() == -1
        began = monotonic()
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        ending += monotonic() - began
    assert closing < 100 * ending
    assert threads_fall_to(before)
    assert open_descriptors() == files
    with pytest.raises(MisuseError):
        relay.arm()


def test_a_forgotten_relay_ends(queue):
    before = threads()
    QueueRelay(queue.id).arm()
    gc.collect()
    assert threads_fall_to(before)


def test_signals_go_to_other_threads(queue, relay):
    """A handler of Python runs in the main thread, and the relay waits on."""
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        relay.arm()
        for _ in range(50):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert seen
        queue.send_nowait(b"x")
        assert readable(relay)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_fork_has_none(queue, relay):
    """The child's is as closed; what it does is nothing to the parent's."""
    relay.arm()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for call in (relay.arm, relay.disarm, relay.collect):
                with pytest.raises(MisuseError):
                    call()
            relay.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    queue.send_nowait(b"x")
    assert readable(relay)
    assert relay.collect().seen is Seen.MESSAGE


def test_wrong_choices(queue):
    for wrong in ({"type": 0, "exclude": True}, {"type": 2**63}):
        with pytest.raises(ValueError):
            QueueRelay(queue.id, **wrong)

"""The usual case in C: what it gives back, and that everything else reaches the subclass unchanged."""

from __future__ import annotations

import errno
import gc
import inspect
import os
import weakref
from collections import deque

import pytest

from ipckit._core import _messages
from ipckit.queue import PosixQueue, SysvQueue
from ipckit.queue.contract import Message


class Tells:
    """Tells what is left to it."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **keywords: (name, args, keywords)


class Sysv(Tells, _messages.Sysv):
    pass


class Posix(Tells, _messages.Posix):
    pass


@pytest.fixture
def sysv():
    with SysvQueue.create() as made:
        door = Sysv()
        door._begin(made.id, Message, deque())
        yield door
        made.remove()


@pytest.mark.parametrize("size", [0, 1, 8192])
@pytest.mark.parametrize("call", ["send", "send_nowait"])
def test_there_and_back(sysv, size, call):
    body = (bytes(range(256)) * 32)[:size]
    assert getattr(sysv, call)(body, type=2**63 - 1) is None
    got = sysv.receive(type=2**63 - 1)
    assert got == Message(2**63 - 1, body)
    assert got.__class__ is Message and got.body.__class__ is bytes
    assert getattr(sysv, call)(body) is None
    assert sysv.receive_nowait() == (1, body)


def test_what_is_unusual_is_left_to_the_subclass_as_it_was_given(sysv):
    text = bytearray(b"x")
    for given, keywords in (
        ((text,), {}), ((b"x",), {"type": 0}), ((b"x",), {"type": "1"}), ((b"x",), {"type": 2**63}),
        ((b"x",), {"timeout": 1}), ((b"x", 7), {}), ((), {"body": b"x"}), ((bytes(8193),), {}),
        ((b"x",), {"type": 1, "timeout": 1}), ((b"x",), {"sort": 1}),
    ):  # fmt: skip
        assert sysv.send(*given, **keywords) == ("_send", given, keywords)
        assert sysv.send_nowait(*given, **keywords) == ("_send_nowait", given, keywords)
    for keywords in ({"exclude": True}, {"type": None}, {"type": -(2**63)}, {"timeout": 0}, {}):
        assert sysv.receive(**keywords) == ("_receive", (), keywords)
    assert sysv.receive(7) == ("_receive", (7,), {})
    assert sysv.receive_nowait(type=3) == ("_receive_nowait", (), {"type": 3})


def test_when_it_is_full_or_closed_nothing_was_done(sysv):
    assert [sysv.send_nowait(bytes(8192)) for _ in range(2)] == [None, None]
    assert sysv.send_nowait(b"x") == ("_send_nowait", (b"x",), {})
    queue_id, sysv._id = sysv._id, -1
    assert sysv.send(b"x")[0] == "_send"
    assert sysv.receive()[0] == "_receive"
    sysv._id = queue_id
    assert len(sysv.receive().body) == 8192


def test_what_a_wait_took_comes_first(sysv):
    given = deque([Message(1, b"given")])
    first = Sysv()
    first._begin(sysv._id, Message, given)
    first.send(b"sent")
    assert first.receive() == ("_receive", (), {})
    given.clear()
    assert first.receive() == (1, b"sent")


def test_posix_there_and_back():
    name = f"/ipckit-door-{os.getpid()}"
    with PosixQueue.create(name, max_message_size=64) as made:
        made.remove()
        door = Posix()
        door._begin(made.fileno(), Message, None)
        assert door.send(b"low") is None
        assert door.send_nowait(b"high", priority=32767) is None
        assert [door.receive(), door.receive_nowait()] == [(32767, b"high"), (0, b"low")]
        for wrong in (-1, 32768, "1", 2**64):
            assert door.send(b"x", priority=wrong) == ("_send", (b"x",), {"priority": wrong})
        assert door.receive(timeout=0) == ("_receive", (), {"timeout": 0})
        assert door.receive_nowait() == ("_receive_nowait", (), {})
        assert door.send(bytes(8193))[0] == "_send"


def test_wrong_use():
    door = Sysv()
    assert door.receive()[0] == "_receive", "it has not begun: nothing is tried"
    for wrong in ((), ("1", Message, None), (1, dict, None), (1, 7, None)):
        with pytest.raises((TypeError, SystemError)):
            door._begin(*wrong)
    door._begin(-1, Message, None)
    with pytest.raises(SystemError, match="begins once"):
        door._begin(-1, Message, None)


def test_a_cycle_through_it_is_collected():
    class Given(list):
        pass

    given = Given()
    gone = weakref.ref(given)
    given.append(door := Sysv())
    door._begin(-1, Message, given)
    del given, door
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("queue", [SysvQueue, PosixQueue])
@pytest.mark.parametrize("call", ["send", "send_nowait", "receive", "receive_nowait"])
def test_the_signature_told_is_that_of_the_method_behind_it(queue, call):
    def parameters(name):
        signature = inspect.signature(getattr(queue, name))
        return [(p.name, p.kind, p.default) for p in signature.parameters.values()][1:]  # not self

    assert parameters(call) == parameters(f"_{call}")
    assert getattr(queue, call).__doc__


def test_take_now_gives_a_message_or_the_reason(sysv):
    assert sysv._take_now(0) == -errno.ENOMSG
    sysv.send(b"x", type=4)
    assert sysv._take_now(3) == -errno.ENOMSG
    assert sysv._take_now(-5) == Message(4, b"x")
    queue_id, sysv._id = sysv._id, -1
    assert sysv._take_now(0) == -errno.EBADF
    sysv._id = queue_id
    for wrong, error in (("1", TypeError), (2**63, OverflowError), (-(2**63), SystemError)):
        with pytest.raises(error):
            sysv._take_now(wrong)
    with pytest.raises(SystemError):
        Sysv()._take_now(0)

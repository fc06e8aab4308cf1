"""The quick door to messages: what it gives back, and that nothing it is given breaks it."""

from __future__ import annotations

import errno

import pytest

from ipckit._core import _messages
from ipckit.queue import SysvQueue
from ipckit.queue.contract import Message


@pytest.fixture
def queue():
    with SysvQueue.create() as made:
        yield made
        made.remove()


@pytest.mark.parametrize("size", [0, 1, 8192])
def test_there_and_back(queue, size):
    body = bytes(range(256)) * 32
    assert _messages.send(queue.id, 2**63 - 1, body[:size]) == 0
    got = _messages.receive(Message, queue.id, 0)
    assert got == Message(2**63 - 1, body[:size])
    assert got.__class__ is Message and got.body.__class__ is bytes


def test_errors_are_numbers(queue):
    assert _messages.receive(Message, queue.id, 0) == -errno.ENOMSG
    assert _messages.send(queue.id, 1, bytes(8193)) == -errno.EMSGSIZE
    for _ in range(2):
        assert _messages.send(queue.id, 1, bytes(8192)) == 0
    assert _messages.send(queue.id, 1, b"x") == -errno.EAGAIN
    assert _messages.send(-1, 1, b"x") == _messages.receive(Message, -1, 0) == -errno.EBADF


@pytest.mark.parametrize("arguments", [(), (1,), (1, 2), ("1", 2, b""), (2**64, 2, b"")])
def test_wrong_arguments_to_send(arguments):
    with pytest.raises((TypeError, OverflowError)):
        _messages.send(*arguments)


@pytest.mark.parametrize(
    "arguments", [(), (Message, 1), (dict, 1, 1), (1, 1, 1), (Message, "1", 1), (Message, 2**64, 1)]
)
def test_wrong_arguments_to_receive(arguments):
    with pytest.raises((TypeError, OverflowError)):
        _messages.receive(*arguments)


@pytest.mark.parametrize("kind", ["1", 2.0, None, 2**63, -(2**63), -(2**63) - 1])
def test_what_is_no_type_is_the_callers(queue, kind):
    assert _messages.send(queue.id, kind, b"x") == 1
    assert _messages.receive(Message, queue.id, kind) == 1
    assert len(queue) == 0


@pytest.mark.parametrize("body", [bytearray(b"x"), memoryview(b"x"), "x", None])
def test_what_is_not_bytes_is_the_callers(queue, body):
    assert _messages.send(queue.id, 1, body) == 1
    for kind in (0, -1):
        assert _messages.send(queue.id, kind, b"x") == 1
    assert len(queue) == 0

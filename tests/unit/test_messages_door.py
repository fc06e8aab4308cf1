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


@pytest.mark.parametrize(
    "arguments", [(), (1,), (1, 2), (1, 2, "text"), ("1", 2, b""), (1, 2.0, b""), (1, 2**64, b"")]
)
def test_wrong_arguments_to_send(arguments):
    with pytest.raises((TypeError, OverflowError)):
        _messages.send(*arguments)


@pytest.mark.parametrize(
    "arguments", [(), (Message, 1), (dict, 1, 1), (1, 1, 1), (Message, "1", 1), (Message, 1, 2**64)]
)
def test_wrong_arguments_to_receive(arguments):
    with pytest.raises((TypeError, OverflowError)):
        _messages.receive(*arguments)

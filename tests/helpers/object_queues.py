"""Queues of objects for tests, and what works beside them."""

from __future__ import annotations

import contextlib
import os
import pickle
import threading

import pytest
from deadlines import LOOK

from ipckit.queue import ObjectQueue

NAME = "contract.objects"


class Array:
    """What numpy's arrays do: their bytes are a buffer out of band."""

    def __init__(self, data) -> None:
        self.data = data

    def __reduce_ex__(self, protocol):
        return Array, (pickle.PickleBuffer(self.data),)


@pytest.fixture
def queue():
    with ObjectQueue(max_messages=8, max_bytes=1 << 20) as made:
        yield made
        if not repr(made).endswith("closed>"):  # a test may close it
            assert made.verify() == []


@pytest.fixture
def named():
    """Make queues of one name; the last one is removed."""
    made = []

    def make(**settings):
        made.append(ObjectQueue.create(NAME, max_bytes=1 << 20, **settings))
        return made[-1]

    yield make
    for each in made:
        each.remove()
        each.close()


@contextlib.contextmanager
def beside(call):
    """Another thread calls it."""
    thread = threading.Thread(target=call)
    thread.start()
    yield
    thread.join(LOOK)
    assert not thread.is_alive()


def in_child(call) -> None:
    """Run `call` in a forked child, which ends without a word to anybody."""
    pid = os.fork()
    if pid == 0:
        try:
            call()
        finally:
            os._exit(1)
    os.waitpid(pid, 0)

"""What the suites of queues share: the queues there are, and each of them as a fixture."""

from __future__ import annotations

import asyncio
import threading
import uuid

import pytest
import uvloop
from deadlines import LOOK

from ipckit.errors import (
    MisuseError,
    NotFound,
    QueueFull,
    QueueRemoved,
)
from ipckit.queue import MemoryPriorityQueue, MemoryQueue, PosixQueue, SysvQueue


def make_posix():
    return PosixQueue.create(f"/ipckit-test-{uuid.uuid4().hex}", max_messages=5)


TYPED = {"sysv": SysvQueue.create, "memory": MemoryQueue}
PRIORITY = {"posix": make_posix, "memory-priority": MemoryPriorityQueue}
MAKERS = TYPED | PRIORITY


def made(maker):
    queue = maker()
    yield queue
    try:
        queue.remove()
    except (QueueRemoved, NotFound, MisuseError):
        pass
    queue.close()


@pytest.fixture(params=sorted(MAKERS))
def queue(request):
    yield from made(MAKERS[request.param])


@pytest.fixture(params=sorted(TYPED))
def typed(request):
    yield from made(TYPED[request.param])


@pytest.fixture(params=sorted(PRIORITY))
def ranked(request):
    yield from made(PRIORITY[request.param])


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, LOOK))


def fill(queue) -> int:
    """Send until it is full; return how many."""
    for count in range(1000):
        try:
            queue.send_nowait(b"x" * 4096)
        except QueueFull:
            return count
    raise AssertionError("never full")


def later(call) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread

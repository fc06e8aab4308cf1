"""What the suites of queues share: the queues there are, and each of them as a fixture."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import uuid
from functools import partial

import pytest
import uvloop
from deadlines import LOOK

from ipckit.errors import (
    MisuseError,
    NotFound,
    QueueFull,
    QueueRemoved,
)
from ipckit.queue import (
    MemoryPriorityQueue,
    MemoryQueue,
    PosixQueue,
    SharedQueue,
    SysvQueue,
    posix_core,
)


class CorePosixQueue(PosixQueue):
    """PosixQueue as it is where posix_ipc has no wheel: by the C core alone."""

    __slots__ = ()
    _calls = posix_core


POSIX = {"posix-core": CorePosixQueue}
if PosixQueue._calls is not posix_core:
    POSIX["posix-package"] = PosixQueue
"""What the tests of POSIX queues run for, on this Python."""


def make_posix(kind=PosixQueue):
    return kind.create(f"/ipckit-test-{uuid.uuid4().hex}", max_messages=5)


def make_shared():
    """As much room as the others have in these tests: two bodies of 4096 bytes."""
    return SharedQueue.create(f"test-{uuid.uuid4().hex}", max_messages=50, max_bytes=8192)


TYPED = {"sysv": SysvQueue.create, "memory": MemoryQueue}
PRIORITY = {name: partial(make_posix, kind) for name, kind in POSIX.items()} | {
    "memory-priority": MemoryPriorityQueue
}
MAKERS = TYPED | PRIORITY | {"shared": make_shared}


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


@pytest.fixture(params=sorted(POSIX))
def posix(request):
    """The class."""
    return POSIX[request.param]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, LOOK))


def segment_and_semaphores() -> tuple[int, int]:
    """Make a System V segment and a set of one semaphore; return their identifiers."""
    first, second = (
        subprocess.run(command, capture_output=True, text=True, timeout=LOOK, check=True).stdout
        for command in (["ipcmk", "-M", "4096"], ["ipcmk", "-S", "1"])
    )
    return int(first.split()[-1]), int(second.split()[-1])


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


@pytest.fixture
def shared_queue():
    with SharedQueue(max_messages=8, max_bytes=1 << 20) as queue:
        yield queue
        if not repr(queue).endswith("closed>"):  # a test may close it
            assert queue.verify() == []

"""What waits at a shared queue costs nothing, and hears of a death soon."""

from __future__ import annotations

import os
import re
import select
import signal
import time
from pathlib import Path

import pytest
from deadlines import LOOK
from family import family

from ipckit.queue import ObjectQueue

SECONDS = 2.0
WAYS = ("get", "lease", "join", "put")


@pytest.fixture
def queue():
    with ObjectQueue(max_messages=1, max_attempts=None) as queue:
        yield queue


def switches(pid) -> int:
    """How often the process has given the CPU away, and was woken."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[0])


def state(pid) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until_asleep(pid) -> None:
    """Wait until it sleeps, and has slept for a while."""
    end = time.monotonic() + LOOK
    before = -1
    while state(pid) != "S" or switches(pid) != before:
        before = switches(pid)
        assert time.monotonic() < end
        select.select([], [], [], 0.05)


@pytest.mark.parametrize("way", WAYS)
def test_one_that_waits_is_awake_less_than_ten_times_a_second(queue, way):
    """Nothing polls: three wait, while nothing happens in the queue."""
    if way in ("put", "join"):
        queue.put("full")
    calls = {
        "get": queue.get,
        "lease": queue.lease,
        "join": queue.join,
        "put": lambda: queue.put(1),
    }
    with family() as start:
        children = [start(calls[way]) for _ in range(3)]
        for child in children:
            until_asleep(child.pid)
        before = [switches(child.pid) for child in children]
        began = time.monotonic()
        select.select([], [], [], SECONDS)
        took = time.monotonic() - began
        awake = [switches(child.pid) - count for child, count in zip(children, before, strict=True)]
        for child in children:
            assert child.kill() == -signal.SIGKILL
    assert max(awake) <= 10 * took, awake


def test_a_receiver_has_a_dead_ones_message_within_50_ms(queue):
    """H3: of twenty deaths the soonest; a busy machine is late for the others."""
    took = []
    queue.put("work")
    for attempt in range(1, 21):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            job = queue.lease(LOOK)
            os.write(writing, bytes([job.attempt]))
            signal.pause()
            os._exit(1)
        assert os.read(reading, 1) == bytes([2 * attempt - 1])
        waiting = os.fork()
        if waiting == 0:
            job = queue.lease(LOOK)
            os.write(writing, bytes([job.attempt]))
            job.give_back()
            os._exit(0)
        until_asleep(waiting)
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        assert os.read(reading, 1) == bytes([2 * attempt])
        took.append(time.monotonic() - began)
        for each in (pid, waiting):
            os.waitpid(each, 0)
        os.close(reading)
        os.close(writing)
    assert min(took) < 0.05, took
    assert queue.get_nowait() == "work"

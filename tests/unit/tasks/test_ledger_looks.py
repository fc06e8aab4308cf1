"""Looks at a task ledger that others are at work on: whole, or not at all."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import time

import pytest

from ipckit._core import _ledger

SHAPE = (2, 64, 1, 1, 2)
SUBMITTER, TAKER, MANAGER = 0, 2, 4
LOOKS, PATIENCE = 300, 600
"""So many pairs of looks that saw two tasks in one record, or the test fails after some seconds."""


def view(memory, place):
    return _ledger.Ledger(memory, place, [-1] * 5)


def body_for(task_id, size):
    return bytes([task_id % 251]) * size


def run_tasks_for_ever(memory, size):
    submitter, taker = view(memory, SUBMITTER), view(memory, TAKER)
    task_id = 0
    while True:
        record, task_id = submitter.take()
        if not submitter.put(record, body_for(task_id, size)):
            os._exit(1)
        submitter.publish(record, -1, 0)
        taker.done(taker.claim()[0])


@contextlib.contextmanager
def tasks(memory, size):
    """Another process runs tasks with bodies of `size`, one after the other."""
    pid = os.fork()
    if not pid:
        try:
            run_tasks_for_ever(memory, size)
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("access", [mmap.ACCESS_WRITE, mmap.ACCESS_COPY])
@pytest.mark.parametrize("size", [100, 1000, 4000, 100_000])
def test_a_look_at_a_task_that_ends_meanwhile(size, access):
    """F24: the word is the same before and after the copy, so id, state and body are of one task.

    With a private mapping, as `ipckit top` has it, and with the shared one.
    """
    fd = os.memfd_create("test-ledger", os.MFD_CLOEXEC)
    os.ftruncate(fd, _ledger.size_of(*SHAPE))
    memory = mmap.mmap(fd, 0)
    _ledger.lay_out(memory, *SHAPE)
    overview = view(mmap.mmap(fd, 0, access=access), MANAGER)
    seen = whole = 0
    last = None
    until = time.monotonic() + PATIENCE
    with tasks(memory, size):
        while seen < LOOKS or not whole:
            assert time.monotonic() < until, f"{seen} changes were seen, {whole} bodies"
            task_id, state, *_, length, _, _, _, body = overview.look(0)
            if body is not None:
                assert state not in {_ledger.FREE, _ledger.WRITING, _ledger.CLEARING}
                assert length == size and body == body_for(task_id, size)
                whole += 1
            seen += task_id != last
            last = task_id
    os.close(fd)

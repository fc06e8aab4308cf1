"""join() and task_done() of ObjectQueue: docs/contracts/object-queue.md, B6 to B8."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from deadlines import LOOK
from object_queues import beside, in_child, named, queue  # noqa: F401  (fixtures)

from ipckit.errors import WaitTimeout
from ipckit.queue import ObjectQueue


def test_b6_more_often_than_got_is_refused(queue):
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()
    queue.put(1)
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()
    queue.get()
    queue.task_done()
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


def test_b6_a_thread_finishes_what_another_one_got(queue):
    queue.put(1)
    queue.get()
    with beside(queue.task_done):
        queue.join(LOOK)


def test_b6_a_process_finishes_what_another_one_got(queue):
    queue.put(1)
    queue.get()
    in_child(queue.task_done)
    queue.join(0)


def test_b7_join_waits_for_each_kind_of_unfinished(queue):
    """B7: on the queue, got, leased, given back, given back with a delay."""

    def not_yet():
        with pytest.raises(WaitTimeout):
            queue.join(0)
        with pytest.raises(WaitTimeout):
            queue.join(0.01)

    queue.join(0)
    queue.put(1)
    not_yet()
    queue.get()
    not_yet()
    queue.task_done()
    queue.join()
    queue.put(2)
    job = queue.lease()
    not_yet()
    job.give_back()
    not_yet()
    queue.lease().give_back(0.05)
    not_yet()
    with queue.lease(LOOK):
        not_yet()
    queue.join(0)


def test_b7_a_join_that_waits_is_woken_by_the_last_one(queue):
    for finish in ("task_done", "acknowledge", "dead"):
        queue.put(1)
        job = None if finish == "task_done" else queue.lease()
        if job is None:
            queue.get()

        def end(job=job, finish=finish):
            if job is None:
                queue.task_done()
            elif finish == "acknowledge":
                job.acknowledge()
            else:
                job.give_back()
                for _ in range(19):
                    queue.lease(0).give_back()

        with beside(end):
            queue.join(LOOK)
    assert len(queue.dead) == 1


def test_b7_all_that_join_are_woken(queue):
    queue.put(1)
    queue.get()
    joined = []

    def join():
        queue.join(LOOK)
        joined.append(1)

    threads = [threading.Thread(target=join) for _ in range(3)]
    for each in threads:
        each.start()
    queue.task_done()
    for each in threads:
        each.join(LOOK)
    assert len(joined) == 3


def test_b8_what_a_thread_did_not_finish_ends_with_it(queue):
    queue.put(1)
    thread = threading.Thread(target=queue.get)
    thread.start()
    thread.join(LOOK)
    queue.join(LOOK)


def test_b8_what_a_process_did_not_finish_ends_with_its_death(queue):
    """B8: the death wakes a join() that waits."""
    queue.put(1)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        queue.get()
        os.write(writing, b".")
        signal.pause()
        os._exit(1)
    assert os.read(reading, 1) == b"."
    with pytest.raises(WaitTimeout):
        queue.join(0)
    with beside(lambda: os.kill(pid, signal.SIGKILL)):
        queue.join(LOOK)
    os.waitpid(pid, 0)
    os.close(reading)
    os.close(writing)


def test_b8_what_a_thread_did_not_finish_ends_with_its_close(named):
    queue = named()
    with ObjectQueue.open(queue.name) as other:
        queue.put(1)
        other.get()
        with pytest.raises(WaitTimeout):
            queue.join(0)
    queue.join(0)

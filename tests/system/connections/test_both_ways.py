"""Tasks one way and messages the other, both as fast as they may: nobody waits for ever.

IPCKIT_SOAK=1 sends ten times as many, ten times.
"""

from __future__ import annotations

import os
import signal
import time

from serving import wait_for

from ipckit import SysvQueue

SOAK = os.environ.get("IPCKIT_SOAK") == "1"
COUNT, TIMES = (100_000, 10) if SOAK else (10_000, 1)


def test_tasks_and_messages_back_do_not_wait_for_each_other(start, mode):
    running = start(task_ipc_mode=mode, task_worker_num=2, task_queue_size=256)
    ask = running.client()
    for _ in range(TIMES):
        began = time.monotonic()
        for _ in range(COUNT // 5000):  # an answer is waited for half a minute at most
            assert ask("both_ways", 5000, 200) == 5000
        print(f"mode {mode}: {COUNT} each way in {time.monotonic() - began:.1f} s")
    stats = ask("call", "stats")
    assert stats["task_failed"] == stats["tasking_num"] == 0
    assert max(one["rss"] for one in stats["workers"]) < 200 << 20


def test_two_bare_queues_do_lock_up():
    """The test of the test: two processes that write all before they read wait for each other."""
    there, back = SysvQueue.create(max_bytes=16384), SysvQueue.create(max_bytes=16384)
    pids = []
    try:
        for taken, given in ((there, back), (None, there)):
            pid = os.fork()
            if pid == 0:
                try:
                    while True:
                        given.send(taken.receive().body if taken else b"x" * 1000)
                finally:
                    os._exit(1)
            pids.append(pid)

        def full() -> bool:
            return len(there) == len(back) == 16

        wait_for(full)
        since = time.monotonic()
        while time.monotonic() - since < 0.5:
            assert full(), "nobody moves"
            os.sched_yield()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        there.remove()
        back.remove()

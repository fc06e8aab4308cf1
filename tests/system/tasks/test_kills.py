"""kill -9 of task workers in the middle of their work: every task is done, and its end comes once.

IPCKIT_SOAK=1 kills ten times as long.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter

from serving import LOOK, kill_one

SCALE = 10 if os.environ.get("IPCKIT_SOAK") == "1" else 1
TASKS = 10_000 * SCALE
TASKS_A_KILL = 100
KILLS = 20 * SCALE
DEATHS = 100 * SCALE


def test_every_task_is_done_and_told_once_while_task_workers_are_killed(start, mode):
    running = start(
        task_ipc_mode=mode, task_worker_num=2, task_max_attempts=20, task_queue_size=2048
    )
    ask = running.client()
    killed: set[int] = set()
    over = threading.Event()

    def kill() -> None:
        rng = random.Random(7)
        while not over.wait(0.005):
            if len(running.journal("once")) >= (len(killed) + 1) * TASKS_A_KILL:
                kill_one(running, killed, taskworker=True, rng=rng)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    tasks = 0
    while tasks < TASKS or len(killed) < KILLS:
        assert killer.is_alive()
        assert ask("flood_once", tasks, 2500) == (2500, 1), "(tasks, most often one was told)"
        tasks += 2500
    over.set()
    killer.join()
    done = Counter(entry[3] for entry in running.journal("once"))
    assert done.keys() == set(range(tasks)), "every effect is there"
    assert done.total() - tasks <= len(killed), "more repeats than kills"
    stats = ask("call", "stats")
    assert stats["task_done"] == stats["task_count"] == tasks
    assert stats["tasking_num"] == stats["task_buried"] == 0
    assert stats["task_failed"] == stats["task_retries"] <= len(killed)
    print(f"mode {mode}: {len(killed)} kills, {tasks} tasks, {stats['task_retries']} retries")


def test_redelivery_is_quick(start, mode):
    """From the death of one task worker to the next attempt in another one.

    There are twelve: one slot gets at most ten processes a second, and here they die faster.
    """
    running = start(task_ipc_mode=mode, task_worker_num=12)
    ask = running.client()
    control = []
    for _ in range(DEATHS):
        began = time.monotonic()
        assert ask("await", "task_async", ("finish", 2), LOOK) == 2
        control.append(time.monotonic() - began)
        assert ask("await", "task_async", ("die_until", 2), LOOK) == 2
    times = [entry[5] for entry in running.journal("attempt")]
    assert len(times) == 2 * DEATHS
    took = sorted(again - died for died, again in zip(times[::2], times[1::2], strict=True))
    percentile = took[-1 - DEATHS // 100]
    print(f"mode {mode}: run again within {percentile * 1e3:.1f} ms (99th percentile)")
    assert percentile < 0.1 + 10 * sorted(control)[-1 - DEATHS // 100]


def test_workers_killed_under_load_leave_a_server_that_serves(start, mode):
    running = start(
        task_ipc_mode=mode,
        worker_num=2,
        task_worker_num=2,
        task_max_attempts=255,
        task_queue_size=256,
    )
    rng = random.Random(11)
    killed: set[int] = set()
    for _ in range(5):
        clients = [running.client() for _ in range(4)]
        for ask in clients:
            ask.tell("flood", 200, 3000)
        kill_one(running, killed, taskworker=False, rng=rng)
        for ask in clients:
            try:
                assert ask.hear() == 200
            except ConnectionError:
                pass  # its worker was the one
            ask.close()
    ask = running.client()
    stats = running.wait_for(
        lambda: (s := ask("call", "stats"))["tasking_num"] == 0 and s, "all records come free"
    )
    assert stats["task_buried"] == 0
    assert ask("flood", 1000, 10) == 1000
    told = [entry[3] for entry in running.journal("finish")]
    assert len(told) == len(set(told))

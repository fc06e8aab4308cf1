"""A flood of tasks: all of them finish, and clients are served while they run.

IPCKIT_SOAK=1 takes the full number, else a tenth of it; the assertions are the same.
"""

from __future__ import annotations

import os
import threading

from deadlines import LOOK

from ipckit.testing.processes.progress import cpu_ns

ECHOS = 100
TASKS = 100_000 if os.environ.get("IPCKIT_SOAK") == "1" else 10_000


def test_a_flood_by_task_later_finishes_and_an_echo_stays_quick(start, mode):
    """Mode 2 has a queue of 16 KiB: fourteen of these tasks, whoever waits for room."""
    running = start(task_ipc_mode=mode)
    flood, echo = running.client(), running.client()
    result = []
    times = []  # of the worker's processor: what it did before it answered

    def floods() -> None:
        while len(times) < ECHOS:
            result.append(flood("flood", TASKS, 1024))

    thread = threading.Thread(target=floods)
    thread.start()
    worker = echo("about")["pid"]
    while thread.is_alive():
        before = cpu_ns(worker) / 1e9
        times.append(echo("cpu") - before)
        thread.join(0.002)
    assert set(result) == {TASKS}
    times.sort()
    late = times[int(len(times) * 0.99)]
    print(
        f"mode {mode}: {len(times)} answers, median {times[len(times) // 2] * 1e3:.1f} ms, "
        f"99th percentile {late * 1e3:.1f} ms"
    )
    assert late < 0.1
    stats = echo("call", "stats")
    assert stats["task_count"] == stats["task_done"] == TASKS * len(result)


def test_a_flood_posted_in_one_callback_finishes(start, mode):
    # Room for all of it: how many are run during the callback is the machine's affair.
    running = start(task_ipc_mode=mode, task_queue_size=131072, task_memory=TASKS * 2048)
    ask = running.client()
    assert ask("flood_at_once", TASKS, 1024) == TASKS
    stats = ask("call", "stats")
    assert stats["task_done"] == TASKS and stats["tasking_num"] == 0


def test_two_workers_share_one_full_queue(start, mode):
    """Each waits for room that the other's messages took."""
    running = start(task_ipc_mode=mode, worker_num=2, task_worker_num=2, task_queue_size=64)
    clients = [running.client() for _ in range(4)]
    count = TASKS // 20
    for ask in clients:
        ask.tell("flood", count, 2000)
    assert [ask.hear() for ask in clients] == [count] * 4
    assert clients[0]("call", "stats")["task_done"] == 4 * count


def test_large_bodies_do_not_block_either_side(start, mode):
    """Both directions full at the same time: bodies over every inline limit, one task worker."""
    ask = start(task_ipc_mode=mode).client()
    body = os.urandom(100_000)
    for _ in range(5):
        answers = ask("many", [("finish", body)] * 40, LOOK)
        assert len(answers) == 40 and all(answer == body for answer in answers.values())

"""The end of a server: in order, by a second signal, and by the death of its manager."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import pytest
from deadlines import LOOK

from ipckit import NotFound, SysvQueue

KEY = 0x72000000 + os.getpid() % 65536


def pids(running) -> list[int]:
    return [running.pid, *(entry[0] for entry in running.journal("worker_start"))]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_sigterm_under_load_lets_running_tasks_finish(start, mode, tmp_path):
    """S18: tasks in hand get to their end."""
    running = start(
        task_ipc_mode=mode,
        worker_num=2,
        task_worker_num=2,
        message_queue_key=KEY,
        max_wait_time=1000,
    )
    asking = [running.client() for _ in range(2)]
    gate = tmp_path / "gate"
    for ask in asking:
        ask.tell("await", "task_async", ("held", str(gate), b"x" * 20_000), LOOK)
    running.wait_for(lambda: len(running.journal("begin")) == 2, "both tasks run")
    loads = [running.client() for _ in range(4)]
    for load in loads:
        load.tell("flood", 5000, 9000)
    probe = running.client()
    running.wait_for(lambda: probe("call", "stats")["task_queued"] > 100, "the load is there")
    processes = pids(running)
    running.signal(signal.SIGTERM)
    running.wait_for(lambda: "ends in order" in running.log(), "it is heard")
    gate.touch()
    assert [ask.hear() for ask in asking] == [b"x" * 20_000] * 2
    assert running.end() == 0
    assert not any(alive(pid) for pid in processes)
    assert len(running.journal("end")) == 2
    words = [entry[2] for entry in running.journal()]
    assert words.count("worker_stop") == 4 and words[-1] == "shutdown"
    stops = [entry[3] for entry in running.journal("worker_stop")]
    assert stops[:2] == [True, True], "task workers end first"
    assert os.listdir(running.runtime_dir) == [] if mode != 1 else True
    with pytest.raises(NotFound):
        SysvQueue.open(KEY)
    assert "tasks were not run: the server stopped" in running.log()


def test_finish_events_run_before_the_worker_stops(start, mode, tmp_path):
    """S18: results are delivered first."""
    running = start(task_ipc_mode=mode, max_wait_time=1000)
    ask = running.client()
    gate = tmp_path / "gate"
    ask.tell("finish", ("held", str(gate), "last"))
    running.wait_for(lambda: running.journal("begin"), "the task runs")
    running.signal(signal.SIGTERM)
    running.wait_for(lambda: "ends in order" in running.log(), "it is heard")
    gate.touch()
    _, _, value = ask.hear()
    assert value == "last"
    assert running.end() == 0
    words = [entry[2] for entry in running.journal()]
    assert words.index("finish") < words.index("shutdown")


def test_who_does_not_end_in_time_is_killed_with_a_stack_dump(start):
    """S18: a worker that is not done in time."""
    running = start(max_wait_time=0.3)
    ask = running.client()
    ask.tell("block", "no such file")
    running.wait_for(lambda: running.journal("block"), "a worker hangs")
    running.signal(signal.SIGTERM)
    assert running.end() == 0
    assert "did not end within max_wait_time" in running.log()
    assert "in block" in running.log(), "the stack dump names where it hung"


def test_a_second_signal_ends_at_once(start):
    """S18: the second signal."""
    running = start(max_wait_time=1000)
    running.client().tell("finish", ("sleep", 1000, 1))
    running.wait_for(lambda: running.journal("begin"), "the task runs")
    processes = pids(running)
    running.signal(signal.SIGINT)
    running.wait_for(lambda: "ends in order" in running.log(), "the first signal is heard")
    running.signal(signal.SIGINT)
    assert running.end() == 0
    assert not any(alive(pid) for pid in processes)


def test_kill_9_of_the_manager_ends_every_child_within_2_seconds(start, mode):
    """S19: every process of it; on a busy machine the kernel may be late now and then."""
    assert any(is_over_within_2_seconds(start, mode) for _ in range(5))


def is_over_within_2_seconds(start, mode) -> bool:
    running = start(task_ipc_mode=mode, worker_num=2, task_worker_num=2, message_queue_key=KEY)
    busy = [running.client() for _ in range(3)]
    busy[0].tell("finish", ("sleep", 1000, 1))
    running.wait_for(lambda: running.journal("begin"), "the task runs")
    busy[1].tell("block", "no such file")
    running.wait_for(lambda: running.journal("block"), "a worker hangs")
    children = pids(running)[1:]
    assert len(children) == 4
    fds = [os.pidfd_open(pid) for pid in children]
    running.process.kill()
    end = time.monotonic() + 2
    left = set(fds)
    while left and time.monotonic() < end:
        left -= set(select.select(list(left), [], [], max(0, end - time.monotonic()))[0])
    in_time = not left
    for fd in fds:
        assert select.select([fd], [], [], LOOK)[0], "a child outlives the manager"
        os.close(fd)
    running.process.wait(LOOK)
    if mode != 1:
        SysvQueue.open(KEY).remove()  # nobody can: a child does not know who still uses it
    return in_time


def test_shutdown_from_a_worker(start):
    """S18: `shutdown()` is an end in order too."""
    running = start(worker_num=2, task_worker_num=1)
    running.client().tell("call", "shutdown")
    assert running.process.wait(LOOK) == 0
    assert running.end() == 0
    assert running.journal()[-1][2] == "shutdown"

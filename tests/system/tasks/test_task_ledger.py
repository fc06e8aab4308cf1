"""A ledger with a name: kept over the death of the whole server, and over its end.

IPCKIT_SOAK=1 kills the server ten times as often.
"""

from __future__ import annotations

import os
import random
import select
import signal
import threading
from collections import Counter

import pytest
from deadlines import LOOK, RUN
from serving import Refused, kill_all

TIMES = 20 if os.environ.get("IPCKIT_SOAK") == "1" else 2
TASKS = 20_000 if os.environ.get("IPCKIT_SOAK") == "1" else 4_000


@pytest.fixture
def name():
    return f"test.{os.getpid()}"


def in_shared_memory(name):
    return [entry for entry in os.listdir("/dev/shm") if name in entry]


def once(*servers):
    return Counter(entry[3] for one in servers for entry in one.journal("once"))


@pytest.mark.parametrize("time", range(TIMES))
def test_what_a_killed_server_left_is_run_by_the_next(start, mode, name, tmp_path, time):
    """D16: after `kill -9` of all of it."""
    settings = {
        "task_ipc_mode": mode,
        "task_ledger": name,
        "task_worker_num": 2,
        "task_queue_size": 1 << 15,
        "task_max_attempts": 20,
        "runtime_dir": str(tmp_path / "run"),
    }
    first = start(**settings)
    ask = first.client()
    promised = []
    half = threading.Event()

    def post():
        try:
            for number in range(TASKS):
                ask("call", "task", ["once", number])
                promised.append(number)
                if number == TASKS // 2:
                    half.set()
        except OSError:
            pass

    poster = threading.Thread(target=post, daemon=True)
    poster.start()
    assert half.wait(RUN)
    select.select([], [], [], random.Random(time).uniform(0, 0.2))
    kill_all(first.process)
    poster.join(LOOK)
    second = start(**settings)
    again = second.client()
    second.wait_for(lambda: again("call", "stats")["tasking_num"] == 0, "the rest is run")
    done = once(first, second)
    assert set(promised) <= done.keys(), "a task that was promised is lost"
    assert sum(done.values()) - len(done) <= 2, "only what ran was run again"
    assert second.end() == 0
    assert in_shared_memory(name) == [] and os.listdir(tmp_path / "run") == []


def test_what_an_ordered_end_leaves_is_run_by_the_next(start, name, tmp_path):
    """D16: after an end in order."""
    settings = {"task_ledger": name, "task_worker_num": 1, "runtime_dir": str(tmp_path / "run")}
    first = start(**settings, max_wait_time=1000)
    ask = first.client()
    gate = tmp_path / "gate"
    ask.tell("call", "task", ["held", str(gate), 1])
    first.wait_for(lambda: first.journal("begin"), "the task worker is busy")
    ask = first.client()
    for number in range(10):
        ask("call", "task", ["once", number])
    ask("call", "task", ["once", "x" * 100_000])
    first.process.send_signal(signal.SIGTERM)
    first.wait_for(lambda: "ends in order" in first.log(), "it is heard")
    gate.touch()
    first.process.wait(LOOK)
    assert len(in_shared_memory(name)) == 1 and not first.journal("once")
    second = start(**settings)
    second.wait_for(lambda: len(second.journal("once")) == 11, "the rest is run")
    assert "is taken up: 11 tasks" in second.log()
    again = second.client()
    second.wait_for(lambda: again("call", "stats")["tasking_num"] == 0, "all are over")
    assert again("call", "task", ["once", 1]) > 11, "task ids go on"
    second.wait_for(lambda: again("call", "stats")["tasking_num"] == 0, "it is over as well")


def test_a_name_has_one_server_and_plain_data(start, name, tmp_path):
    """D16: a second server, and data that only pickle takes, are refused."""
    running = start(task_ledger=name)
    ask = running.client()
    data = {"a": [1, 2.5, None, True, "é", b"\x00"], 7: {}}
    assert ask("await", "task_async", data, LOOK) == data
    for wrong in ((1, 2), {1, 2}, 2**63, {(1,): 2}, [object]):
        with pytest.raises(Refused, match=r"TypeError.*data"):
            ask("call", "task", wrong)
    with pytest.raises(AssertionError, match=r"AlreadyExists.*task_ledger"):
        start(task_ledger=name)

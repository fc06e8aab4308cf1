"""max_request, task_max_request, reload, stop: processes are replaced, nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
from functools import partial

from serving import LOOK, sleeps
from watching import all_are_copied

TASKS = 10_000


def test_10000_tasks_through_task_workers_that_retire_every_50(start, mode):
    running = start(
        task_ipc_mode=mode, task_worker_num=2, task_max_request=50, task_max_request_grace=0
    )
    ask = running.client()
    assert ask("flood", TASKS, 10) == TASKS
    stats = ask("call", "stats")
    assert stats["task_count"] == stats["task_done"] == TASKS
    assert stats["task_retries"] == stats["task_failed"] == 0
    lives = running.journal("worker_start")
    assert len([life for life in lives if life[3]]) >= TASKS / 50
    assert not running.journal("worker_error")
    assert sum(worker["tasks"] for worker in stats["workers"]) == TASKS


def test_workers_that_retire_lose_no_task_and_no_answer(start):
    """S11: 10,000 requests, a task each, through workers that retire every 50.

    Each serves on until its successor is ready, so it has more than 50 of them, on a busy machine
    many more; the test goes on until there were enough workers.
    """
    running = start(worker_num=2, task_worker_num=1, max_request=50, max_request_grace=0)
    answered = 0
    ask = running.client()
    tries = 0

    def lives() -> int:
        return sum(not life[3] for life in running.journal("worker_start"))

    number = 0
    while number < TASKS or lives() < TASKS / 150:
        tries += 1
        assert tries < 2 * (number + TASKS)
        try:
            _, _, result = ask("finish", ("once_more", number))
        except ConnectionError:
            ask.close()
            ask = running.client()
            continue
        assert result == ("once_more", number)
        number += 1
        answered += 1
    stats = running.client()("call", "stats")
    assert not running.journal("worker_error")
    assert stats["task_done"] == stats["task_count"] >= answered
    assert stats["task_retries"] == 0
    finished = [entry[3] for entry in running.journal("finish")]
    assert len(finished) == len(set(finished)), "a task was told twice"


def test_reload_replaces_every_process_and_serves_meanwhile(start, mode):
    """S11: each process is another one afterwards."""
    running = start(task_ipc_mode=mode, worker_num=2, task_worker_num=2)
    before = {entry[0] for entry in running.journal("worker_start")}
    assert len(before) == 4
    running.signal(signal.SIGUSR1)
    served = 0

    def served_until_replaced():
        nonlocal served
        ask = running.client()
        try:
            assert ask("await", "task_async", ("finish", 5), LOOK) == 5
            served += 1
        except ConnectionError:
            pass  # its worker left in this moment
        ask.close()
        after = {entry[0] for entry in running.journal("worker_stop")}
        return after >= before

    running.wait_for(served_until_replaced, "all are replaced")
    assert served > 0
    assert not running.journal("worker_error")
    new = {entry[0] for entry in running.journal("worker_start")} - before
    assert len(new) == 4


def test_usr2_replaces_task_workers_only(start):
    running = start(worker_num=1, task_worker_num=2)
    ask = running.client()
    pid = ask("about")["pid"]
    running.signal(signal.SIGUSR2)
    running.wait_for(lambda: len(running.journal("worker_stop")) == 2, "both are replaced")
    assert all(entry[3] for entry in running.journal("worker_stop"))
    assert ask("about")["pid"] == pid
    assert ask("await", "task_async", ("finish", 5), LOOK) == 5


def test_stop_replaces_one(start):
    running = start(worker_num=1, task_worker_num=1)
    ask = running.client()
    pid = ask("about")["pid"]
    ask("call", "stop", 0)
    running.wait_for(lambda: running.journal("worker_stop"), "it leaves")
    ((left, *_),) = running.journal("worker_stop")
    assert left == pid
    assert running.client()("about")["pid"] not in (pid, running.pid)
    assert not running.journal("worker_error")


def test_a_killed_worker_is_replaced_and_its_results_go_to_the_successor(start, mode, tmp_path):
    """D7, S14: to the successor of the worker that asked."""
    running = start(task_ipc_mode=mode)
    ask = running.client()
    pid = ask("about")["pid"]
    ask.tell("finish", ("held", str(tmp_path / "gate"), "late"))
    running.wait_for(lambda: running.journal("begin"), "the task begins")
    assert ask("about")["pid"] == pid, "and the callback that posted it has returned"
    # An answer is written before it is counted: in between, the connection would end with it.
    running.wait_for(lambda: sleeps(pid), "it has nothing to do")
    copied = partial(all_are_copied, running.process.pid, running.port)
    running.wait_for(copied, "the manager has a copy")
    os.kill(pid, signal.SIGKILL)
    (tmp_path / "gate").touch()
    (finish,) = running.wait_for(lambda: running.journal("finish"), "the successor hears of it")
    assert finish[0] != pid and finish[4] == "'late'"
    again = running.client()
    assert again("await", "task_async", ("finish", 5), LOOK) == 5
    stats = again("call", "stats")
    assert stats["task_done"] == 2 and stats["tasking_num"] == 0
    assert stats["connection_num"] == 2, "the first client's goes on"
    assert ask("about")["pid"] == finish[0]


def test_reload_from_a_worker_and_its_events(start):
    running = start(worker_num=1, task_worker_num=1)
    ask = running.client()
    assert ask("call", "reload", True) is True
    running.wait_for(lambda: running.journal("after_reload"), "the reload ends")
    assert [entry[2] for entry in running.journal() if "reload" in entry[2]] == [
        "before_reload",
        "after_reload",
    ]
    assert ask("await", "task_async", ("finish", 5), LOOK) == 5


def test_a_log_file_that_was_moved_is_opened_anew(start, tmp_path):
    log = tmp_path / "server.log"
    running = start(log_file=str(log), log_level="debug", task_max_attempts=1)
    ask = running.client()
    assert "serving on" in log.read_text() and "is process" in log.read_text()
    log.rename(tmp_path / "server.log.1")
    ask.tell("finish", ("raise_until", 9))
    running.wait_for(lambda: log.exists() and "was given up" in log.read_text(), "a new file")
    assert "was given up" not in (tmp_path / "server.log.1").read_text()

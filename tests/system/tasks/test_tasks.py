"""Tasks in every mode: what goes in comes out, where it should, once."""

from __future__ import annotations

import os
import time

import pytest
from serving import LOOK, Refused

from ipckit import SysvQueue
from ipckit.server.processes.process import CHECK_SECONDS
from ipckit.server.tasks.external_queue import ForeignQueue, ForeignTaker

KIB = 1024
VALUES = [
    None,
    True,
    0,
    -(2**63),
    2**100,
    1.5,
    "",
    "text 中文",
    b"",
    b"x",
    (1, 2),
    [1, [2]],
    {"a": {1: 2}},
    {1, 2},
    frozenset({3}),
    1 + 2j,
    range(3),
]
SIZES = [0, 1, 8 * KIB - 1, 8 * KIB, 8 * KIB + 1, 32 * KIB, 1 * KIB * KIB, 16 * KIB * KIB]


def test_every_plain_type_goes_there_and_back(start, mode):
    """D3: every type."""
    ask = start(task_ipc_mode=mode).client()
    for value in VALUES:
        assert ask("await", "task_async", ("finish", value), LOOK) == value
        if value is not None:
            _, _, result = ask("finish", ("finish", value))
            assert result == value


def test_bytes_of_every_size(start, mode):
    """D3: every size."""
    ask = start(task_ipc_mode=mode).client()
    for size in SIZES:
        body = os.urandom(size)
        assert ask("await", "task_async", ("finish", body), LOOK) == body, size


def test_results_come_to_the_worker_that_asked_and_the_names_are_true(start, mode):
    """D7: to the worker that asked."""
    running = start(task_ipc_mode=mode, worker_num=2, task_worker_num=2)
    seen = {}
    for _ in range(20):
        ask = running.client()
        about = ask("about")
        assert not about["taskworker"] and about["worker_pid"] == about["pid"]
        assert about["manager_pid"] == about["master_pid"] == running.pid
        assert about["worker_id"] in (0, 1) and about["current_task"] is None
        task_id, answered_in, who = ask("finish", ("who",))
        worker, pid, its_id, source, current = who
        assert worker in (2, 3) and its_id == task_id >= 1
        assert answered_in == source == about["worker_id"]
        assert current == (task_id, 1, source, None)
        assert task_id not in seen
        seen[task_id] = pid
    assert running.pid not in seen.values()
    finished = running.journal("finish")
    assert {entry[3] for entry in finished} == set(seen)
    asked = {entry[3]: entry[1] for entry in finished}
    assert len(asked) == len(finished) == 20


def test_dst_is_honoured(start, mode):
    """D4: the task worker that was named."""
    ask = start(task_ipc_mode=mode, task_worker_num=3).client()
    for _ in range(3):
        for dst in range(3):
            worker, *_ = ask("await", "task_async", ("who",), LOOK, dst)
            assert worker == 1 + dst if mode != 3 else 1 <= worker <= 3
    for dst in (-2, 3, "1", True):
        with pytest.raises(Refused, match=r"ValueError.*dst="):
            ask("call", "task", 1, dst)


def test_idle_task_workers_share_the_work(start, mode, tmp_path):
    """D4: -1 is the first idle one: while one is busy, the others run everything."""
    running = start(task_ipc_mode=mode, task_worker_num=2)
    ask, other = running.client(), running.client()
    gate = tmp_path / "gate"
    ask.tell("await", "task_async", ("held", str(gate), "slow"), LOOK)
    running.wait_for(lambda: running.journal("begin"), "the slow task begins")
    workers = {other("await", "task_async", ("who",), LOOK)[0] for _ in range(30)}
    assert len(workers) == 1
    gate.touch()
    assert ask.hear() == "slow"


def test_taskwait_gets_its_own_answer_and_never_a_late_one(start, mode, tmp_path):
    """D9: its own answer or none."""
    ask = start(task_ipc_mode=mode).client()
    assert ask("late") == ["TaskTimeout", "in time"]
    assert ask("call", "taskwait", ("none",), LOOK) is None
    with pytest.raises(Refused, match=r"TaskFailed.*ValueError: attempt"):
        ask("call", "taskwait", ("raise_until", 99), LOOK)
    with pytest.raises(Refused, match="TaskTimeout"):
        ask("await", "task_async", ("held", str(tmp_path / "gate"), 1), 0.01)
    (tmp_path / "gate").touch()
    assert ask("await", "task_async", ("finish", 5), LOOK) == 5


def test_task_wait_multi(start, mode, tmp_path):
    ask = start(task_ipc_mode=mode, task_worker_num=2, task_max_attempts=1).client()
    answers = ask("many", [("finish", 7), ("raise_until", 9), ("none",)], LOOK)
    assert answers[0] == 7 and answers[2] is None
    assert answers[1][0] == "TaskFailed" and "ValueError" in answers[1][1]
    late = ask("many", [("held", str(tmp_path / "gate"), 1), ("finish", 2)], 2)
    assert late == {1: 2}
    (tmp_path / "gate").touch()
    assert ask("many", [], 0.1) == {}


def test_none_without_finish_is_no_event_and_finish_of_none_is_one(start, mode):
    """D8: nothing, and None, are two things."""
    running = start(task_ipc_mode=mode)
    ask = running.client()
    assert ask("await", "task_async", ("none",), LOOK) is None
    ask.tell("finish", ("none",))
    _, _, value = ask("finish", ("finish", None))
    assert value is None
    assert len(running.journal("finish")) == 1


def test_a_failed_task_is_run_again_and_then_given_up(start, mode):
    """D10, D11: by exceptions."""
    running = start(task_ipc_mode=mode, task_max_attempts=3, task_retry_delays=[0, 0.01])
    ask = running.client()
    assert ask("await", "task_async", ("raise_until", 3), LOOK) == 3
    with pytest.raises(Refused) as refused:
        ask("finish", ("raise_until", 4))
    assert str(refused.value.args[1]).endswith("ValueError: attempt 3 is not 4")
    (failed,) = running.journal("task_failed")
    assert failed[4] == 3
    assert [entry[4] for entry in running.journal("attempt")] == [1, 2, 3, 1, 2, 3]
    stats = ask("call", "stats")
    assert stats["task_failed"] == 5 and stats["task_retries"] == 4
    assert (stats["task_done"], stats["task_buried"]) == (1, 1)


def test_a_task_whose_worker_died_is_run_again_and_then_given_up(start, mode):
    """D10: by deaths."""
    running = start(task_ipc_mode=mode, task_worker_num=2, task_max_attempts=3)
    ask = running.client()
    assert ask("await", "task_async", ("die_until", 3), LOOK) == 3
    with pytest.raises(Refused, match=r"TaskFailed.*died: signal 9"):
        ask("await", "task_async", ("die_until", 9), LOOK)
    assert ask("await", "task_async", ("finish", "alive"), LOOK) == "alive"
    deaths = running.wait_for(
        lambda: len(told := running.journal("worker_error")) == 5 and told, "every death is told"
    )
    assert {tuple(entry[5:]) for entry in deaths} == {(0, 9)}
    stats = ask("call", "stats")
    assert stats["worker_restarts"] == 5 and stats["task_retries"] == 4


def test_the_books_balance(start, mode):
    """D15: the sum holds."""
    ask = start(task_ipc_mode=mode, task_worker_num=2).client()
    for number in range(30):
        try:
            ask("await", "task_async", ("raise_until", 1 + number % 5), LOOK)
        except Refused:
            pass
    stats = ask("call", "stats")
    assert stats["task_count"] == 30
    assert stats["task_done"] == 18 and stats["task_buried"] == 12
    assert stats["tasking_num"] == stats["task_queued"] == stats["task_running"] == 0
    assert stats["task_failed"] == stats["task_retries"] + stats["task_buried"]


def test_a_full_ledger_refuses_at_once_and_task_later_waits(start, mode, tmp_path):
    """D2: TaskQueueFull, or a wait that holds up nobody."""
    running = start(task_ipc_mode=mode, task_queue_size=2)
    ask, other = running.client(), running.client()
    ask.tell("await", "task_async", ("held", str(tmp_path / "gate"), "a"), LOOK)
    running.wait_for(lambda: running.journal("begin"), "the task begins")
    ask_late = running.client()
    ask_late.tell("await", "task_async", ("finish", "b"), LOOK)
    running.wait_for(lambda: other("call", "stats")["task_queued"] == 1, "the second is queued")
    with pytest.raises(Refused, match=r"TaskQueueFull.*task_queue_size=2"):
        other("call", "task", 1)
    other.tell("await", "task_async", ("finish", "c"), LOOK)
    (tmp_path / "gate").touch()
    assert (ask.hear(), ask_late.hear(), other.hear()) == ("a", "b", "c")


def test_async_tasks(start, mode):
    running = start(task_ipc_mode=mode, async_task=True, task_worker_num=2)
    ask = running.client()
    assert ask("await", "task_async", ("finish", "x" * 9000), LOOK) == "x" * 9000
    assert ask("await", "task_async", ("raise_until", 2), LOOK) == 2
    assert ask("await", "task_async", ("die_until", 2), LOOK) == 2


def test_tasks_can_send_and_close(start, mode):
    ask = start(task_ipc_mode=mode, worker_num=2).client()
    fd = ask("about")["fd"]
    body = b"\x00\x00\x00\x05" + b"12345"
    ask.tell("finish", ("send", fd, body))
    assert ask._client.recv() == body
    ask.hear()
    ask.tell("finish", ("close", fd))
    assert ask._client.recv() == b""


def test_data_that_does_not_unpickle_is_a_failed_attempt(start, mode):
    """Neither process may end by it: the type's code is the user's."""
    running = start(task_ipc_mode=mode, task_max_attempts=2)
    ask = running.client()
    with pytest.raises(Refused, match=r"TaskFailed.*ValueError: not in a task worker"):
        ask("stubborn", "task worker")
    with pytest.raises(Refused, match=r"TaskFailed.*ValueError: not in a worker"):
        ask("await", "task_async", ("stubborn", "worker"), LOOK)
    ask("stubborn_message", 1)
    running.wait_for(lambda: "pipe_message raised" in running.log(), "the message is refused")
    assert ask("await", "task_async", ("finish", 5), LOOK) == 5
    assert not running.journal("worker_error")
    stats = ask("call", "stats")
    assert (stats["task_failed"], stats["task_buried"], stats["callback_errors"]) == (4, 2, 1)


@pytest.mark.parametrize("again", [False, True], ids=["removed", "made again"])
@pytest.mark.parametrize("queue_mode", [2, 3])
def test_a_queue_that_somebody_removes_is_told_and_harms_nothing_else(start, queue_mode, again):
    """F22, D22: the server's own tasks go on; a queue with that key is another program's."""
    running = start(task_ipc_mode=queue_mode, message_queue_key=0x71ABCDEF)
    ask = running.client()
    SysvQueue.open(0x71ABCDEF).remove()
    made = SysvQueue.create(0x71ABCDEF) if again else None
    try:
        running.wait_for(lambda: "the message queue was removed" in running.log(), "it is told")
        end = time.monotonic() + 2 * CHECK_SECONDS  # task worker 0 looks for unserved types
        while time.monotonic() < end:
            assert ask("await", "task_async", ("finish", "well"), LOOK) == "well"
        assert len(running.journal("worker_start")) == 2, "nobody died of it"
        assert running.end() == 0
        assert made is None or made.statistics().messages == 0, "it is there still"
    finally:
        if made is not None:
            made.remove()


def test_every_call_at_a_queue_that_was_removed_is_harmless():
    """F22, D22: Q1 of ipckit/server/tasks/external_queue.py."""
    queue = SysvQueue.create()
    foreign = ForeignQueue(SysvQueue.open_id(queue.id), 1, contended=False)
    taker = ForeignTaker(foreign, 0)
    try:
        queue.remove()
        other = SysvQueue.create()  # in its place in the kernel's table
        try:
            assert foreign.take_unserved() is None
            assert taker.take() is None
            assert not taker.prepare_wait()
            taker.rest()
            foreign.remove()
        finally:
            other.remove()
    finally:
        taker.close()


def test_it_is_said_when_the_task_workers_cannot_keep_up(start, tmp_path):
    running = start(task_worker_num=1, period=0.2)
    ask = running.client()
    ask("await", "task_async", ("sleep", 1.0, "what an attempt takes"), LOOK)
    gate = tmp_path / "gate"
    ask("call", "task", ("held", str(gate), 1))  # the others wait, and 20 in a second need 20
    for _ in range(20):
        ask("call", "task", ("finish", 1))
    running.wait_for(lambda: "the task workers cannot keep up" in running.log(), "it is said")
    gate.touch()
    running.wait_for(lambda: "the 1 task workers keep up again" in running.log(), "and taken back")
    assert running.log().count("cannot keep up") == 1


@pytest.mark.parametrize("how", ["raise_until", "die_until"])
def test_at_most_once_repeats_nothing(start, mode, how):
    """D10: neither an exception nor a death is followed by another attempt."""
    running = start(task_ipc_mode=mode, task_delivery="at_most_once", task_max_attempts=3)
    ask = running.client()
    with pytest.raises(Refused, match="after 1 attempt"):
        ask("await", "task_async", (how, 2), LOOK)
    assert ask("await", "task_async", ("finish", "alive"), LOOK) == "alive"
    stats = ask("call", "stats")
    assert (stats["task_buried"], stats["task_failed"], stats["task_retries"]) == (1, 1, 0)


@pytest.mark.parametrize("call", ["taskwait", "task_wait_multi"])
def test_a_thread_waits_for_tasks_and_the_loop_goes_on(small, call):
    """D9: its own answers, each as soon as it is there; clients are served while it waits."""
    server = small(
        f"""
        import asyncio

        def wait(server, number):
            for turn in range(100):
                if {call!r} == "taskwait":
                    assert server.taskwait((number, turn), None) == (number, turn)
                else:
                    asked = [(number, turn), (number, -turn)]
                    assert server.task_wait_multi(asked, None) == dict(enumerate(asked))
            return turn

        async def wait_in_the_loop(number):
            for turn in range(100):
                await server.task_async((number, turn))

        @server.on("receive")
        async def receive(server, fd, reactor_id, data):
            loop = asyncio.get_running_loop()
            began = loop.time()
            await asyncio.gather(*map(wait_in_the_loop, range(4)))
            control = loop.time() - began
            began = loop.time()
            waits = (loop.run_in_executor(None, wait, server, n) for n in range(4))
            answers = await asyncio.gather(*waits, return_exceptions=True)
            server.send(fd, repr((answers, loop.time() - began < 10 * control + 5)).encode())

        @server.on("task")
        def task(server, task_id, src_worker_id, data):
            return data

        @server.on("finish")
        def finish(server, task_id, result):
            raise AssertionError("it has a waiter")
        """,
        "task_worker_num=2",
    )
    with server.connect() as client:
        client.sendall(b"go")
        assert client.recv(4000) == b"([99, 99, 99, 99], True)"
    assert "it has a waiter" not in server.end()

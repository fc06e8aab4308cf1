"""Tasks from other programs: TaskClient, and PHP's msg_send into the queue of a running server."""

from __future__ import annotations

import json
import os
import pickle
import subprocess

import pytest
from deadlines import LOOK

from ipckit import NotFound, SysvQueue, TaskClient, msg_get_queue, msg_send
from ipckit.kinds import ANY_TASK_WORKER

KEY = 0x71000000 + os.getpid() % 65536


@pytest.fixture(params=[2, 3], ids=["mode2", "mode3"])
def queue_mode(request) -> int:
    return request.param


def once(running) -> list:
    return [entry[3] for entry in running.journal("once")]


def test_task_client_posts_tasks_that_run_once(start, queue_mode):
    """D18: from Python."""
    running = start(
        task_ipc_mode=queue_mode, message_queue_key=KEY, task_worker_num=2, worker_num=2
    )
    client = TaskClient(KEY)
    for number in range(100):
        client.post(["once", number], dst=number % 3 - 1, timeout=LOOK)
    running.wait_for(lambda: len(once(running)) >= 100, "all ran")
    assert sorted(once(running)) == list(range(100))
    if queue_mode == 2:
        for _, worker, _, number in running.journal("once"):
            assert number % 3 == 0 or worker == 2 + number % 3 - 1
    ask = running.client()
    running.wait_for(lambda: ask("call", "stats")["task_done"] == 100, "all counted")
    assert not running.journal("finish"), "a foreign task has no submitter to tell"


def test_a_foreign_task_says_so_and_is_retried(start, queue_mode):
    """D18: the source is -1."""
    running = start(task_ipc_mode=queue_mode, message_queue_key=KEY, task_max_attempts=3)
    client = TaskClient(KEY)
    client.post(["raise_until", 3])
    client.post(["die_until", 2])
    client.post(["raise_until", 9])
    running.wait_for(lambda: running.journal("task_failed"), "the hopeless one is given up")
    ask = running.client()
    stats = running.wait_for(
        lambda: (s := ask("call", "stats"))["task_done"] == 2 and s, "the others end"
    )
    assert stats["task_buried"] == 1 and stats["task_count"] == 3


def test_junk_is_refused_counted_and_logged(start, queue_mode):
    """D19: what is no plain data."""
    running = start(task_ipc_mode=queue_mode, message_queue_key=KEY)
    queue = SysvQueue.open(KEY)
    junk = [
        b"",
        b"not serialized",
        b'O:8:"stdClass":0:{}',
        b"i:5;trailing",
        b"\x00ipckit\x01" + b"\x00" * 60,
        b"\x80\x05K\x01.",
    ]
    for body in junk:
        queue.send(body, type=1, timeout=LOOK)
    if queue_mode == 2:
        queue.send(b"i:1;", type=(1 << 30) + 1, timeout=LOOK)  # no task worker has that number
    ask = running.client()
    refused = len(junk) + (queue_mode == 2)
    running.wait_for(lambda: ask("call", "stats")["foreign_refused"] >= refused, "junk is refused")
    assert ask("await", "task_async", ("finish", "well"), LOOK) == "well"
    assert ask("call", "stats")["foreign_refused"] == refused
    assert "an empty message is no task" in running.log()
    assert "not PHP's serialize text" in running.log()


class Bomb:
    """What runs a command where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mknod, (str(self.path),)


def test_pickle_in_a_queue_that_all_may_write_is_refused(start, queue_mode, tmp_path):
    """D19: nothing is unpickled."""
    running = start(task_ipc_mode=queue_mode, message_queue_key=KEY, message_queue_mode=0o666)
    queue = SysvQueue.open(KEY)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        body = pickle.dumps(("once", Bomb(tmp_path / "bomb")), protocol)
        queue.send(body, type=ANY_TASK_WORKER if queue_mode == 2 else 1, timeout=LOOK)
    ask = running.client()
    refused = pickle.HIGHEST_PROTOCOL + 1
    running.wait_for(lambda: ask("call", "stats")["foreign_refused"] == refused, "all are refused")
    assert not (tmp_path / "bomb").exists() and not once(running)
    assert "not PHP's serialize text" in running.log()


def test_a_message_that_names_a_path_opens_no_file(start, queue_mode, tmp_path):
    """D19: Swoole's large tasks travel as the path of a file that the receiver opens and removes."""
    running = start(task_ipc_mode=queue_mode, message_queue_key=KEY)
    named = tmp_path / "swoole.task"
    named.write_bytes(b"i:1;")
    queue = SysvQueue.open(KEY)
    kind = ANY_TASK_WORKER if queue_mode == 2 else 1
    queue.send(bytes(16) + bytes(str(named), "ascii"), type=kind, timeout=LOOK)
    TaskClient(KEY).post(["once", str(named)])
    ask = running.client()
    running.wait_for(lambda: once(running), "a path as data is data")
    assert once(running) == [str(named)] and named.read_bytes() == b"i:1;"
    assert ask("call", "stats")["foreign_refused"] == 1
    assert "not PHP's serialize text" in running.log()


def test_a_type_nobody_serves_is_refused(start):
    """D19: a type that no task worker has."""
    running = start(task_ipc_mode=2, message_queue_key=KEY)
    msg_send(msg_get_queue(KEY), 77, "for nobody")
    ask = running.client()
    running.wait_for(lambda: ask("call", "stats")["foreign_refused"] == 1, "it is refused")
    assert "no task worker takes type 77" in running.log()
    assert len(SysvQueue.open(KEY)) == 0


def test_a_full_ledger_leaves_foreign_tasks_in_the_queue(start, queue_mode, tmp_path):
    """D20: they wait where their senders see them."""
    running = start(task_ipc_mode=queue_mode, message_queue_key=KEY, task_queue_size=1)
    client, ask = TaskClient(KEY), running.client()
    gate = tmp_path / "gate"
    ask.tell("await", "task_async", ("held", str(gate), "slow"), LOOK)
    running.wait_for(lambda: running.journal("begin"), "the task begins")
    for number in range(20):
        client.post(["once", number], timeout=LOOK)
    assert len(SysvQueue.open(KEY)) > 0
    gate.touch()
    assert ask.hear() == "slow"
    running.wait_for(lambda: len(once(running)) >= 20, "all ran")
    assert sorted(once(running)) == list(range(20))


def test_the_key_belongs_to_one_live_server_and_ends_with_it(start):
    """D21: one living server."""
    running = start(task_ipc_mode=2, message_queue_key=KEY, message_queue_mode=0o666)
    assert SysvQueue.open(KEY).statistics().mode == 0o666
    with pytest.raises(AssertionError, match=r"AlreadyExists.*a live server has message_queue_key"):
        start(task_ipc_mode=2, message_queue_key=KEY)
    assert running.end() == 0
    with pytest.raises(NotFound):
        TaskClient(KEY)


def test_a_queue_left_by_somebody_is_taken_over_with_our_rights(start):
    """D21: its rights are set."""
    with SysvQueue.create(KEY, mode=0o666) as left:
        left.send(b'a:2:{i:0;s:4:"once";i:1;i:5;}', type=ANY_TASK_WORKER)
    running = start(task_ipc_mode=2, message_queue_key=KEY)
    running.wait_for(lambda: once(running) == [5], "what lay in it is run")
    assert SysvQueue.open(KEY).statistics().mode == 0o600
    assert "had mode 0o666" in running.log()


@pytest.mark.needs_php
def test_php_posts_1000_tasks_that_run_once_each(start, queue_mode):
    """D18: from PHP."""
    running = start(
        task_ipc_mode=queue_mode, message_queue_key=KEY, task_worker_num=2, worker_num=2
    )
    script = f"""
    $q = msg_get_queue({KEY});
    for ($i = 0; $i < 1000; $i++) {{
        $type = {queue_mode} == 2 ? ($i % 3 ? $i % 3 : {ANY_TASK_WORKER}) : 1 + $i;
        if (!msg_send($q, $type, ["once", $i, "中文", ["k" => [1.5, null, true]]])) exit(1);
    }}
    """
    done = subprocess.run(["php", "-r", script], timeout=LOOK, check=False, capture_output=True)
    assert done.returncode == 0, done
    running.wait_for(lambda: len(once(running)) >= 1000, "all ran")
    ask = running.client()
    running.wait_for(lambda: ask("call", "stats")["task_done"] == 1000, "all counted")
    assert sorted(once(running)) == list(range(1000))
    assert {tuple(map(str, entry[4:])) for entry in running.journal("once")} == {
        ("中文", "{'k': [1.5, None, True]}")
    }


ENDLESS = """
import json
seen, ran, ended = [], 0, 0

@server.on("worker_start")
def worker_start(server, worker_id):
    if worker_id == 0:
        for _ in range(64):
            server.task("again")

@server.on("task")
def task(server, task_id, src_worker_id, data):
    global ran
    ran += 1
    if src_worker_id < 0:
        seen.append(data)
    sum(range(10_000))  # the worker is quicker: there is always a next task
    return data

@server.on("finish")
def finish(server, task_id, result):
    global ended
    ended += 1
    server.task("again")

@server.on("pipe_message")
def pipe_message(server, src_worker_id, message):
    fd, ended_then = message
    server.send(fd, json.dumps([seen, ran - ended_then]).encode() + b".")

@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send_message((fd, ended), 1)
"""


def test_a_busy_task_worker_takes_foreign_tasks_and_messages(small, queue_mode):
    """D18, S17: one that has tasks of the ledger without end looks once in a millisecond (K5)."""
    server = small(
        ENDLESS, f"task_ipc_mode={queue_mode}, message_queue_key={KEY}, task_worker_num=1"
    )
    client = TaskClient(KEY)
    for number in range(100):
        client.post(number, timeout=LOOK)

    def answer() -> list[int]:
        with server.connect() as sock:
            sock.sendall(b"seen")
            found = b""
            while not found.endswith(b"."):
                found += sock.recv(1000)
        seen, since = json.loads(found[:-1])
        assert since < 64 + 100 + 500, "tasks that it ran before it looked, foreign ones included"
        return seen

    server.wait_for(lambda: len(answer()) == 100)
    assert answer() == list(range(100))

"""At least once: what task() returned for is done, whoever is killed; one bad task harms no other.

IPCKIT_SOAK=1 posts and kills ten times as long.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
import time
from collections import Counter

import pytest
from deadlines import LOOK, RUN
from serving import Refused, kill_one

from ipckit.server.tasks.dead_letters import DeadLetters

SCALE = 10 if os.environ.get("IPCKIT_SOAK") == "1" else 1
TASKS = 10_000 * SCALE
TASKS_A_KILL = 100


def test_what_task_returned_for_is_done_whoever_is_killed(start, mode):
    """D1: every promised task is done."""
    running = start(task_ipc_mode=mode, worker_num=2, task_worker_num=2, task_max_attempts=255)
    promised: list[int] = []
    over = threading.Event()
    ahead = threading.Semaphore(2 * TASKS_A_KILL)  # of the kills

    def post() -> None:
        number = 0
        while not over.is_set():
            with contextlib.suppress(OSError), contextlib.closing(running.client()) as ask:
                while len(promised) < TASKS:
                    number += 1
                    try:
                        ask("call", "task", ("once", number))
                    except Refused as why:  # on a busy machine they run slower than they come
                        if why.args[0] != "TaskQueueFull":
                            raise
                    else:
                        promised.append(number)
                        ahead.acquire(timeout=RUN)
                over.set()

    poster = threading.Thread(target=post, daemon=True)
    poster.start()
    rng, killed = random.Random(5), set()
    while poster.is_alive() and not over.is_set():
        if len(promised) >= (len(killed) + 1) * TASKS_A_KILL:
            kill_one(running, killed, taskworker=rng.random() < 0.7, rng=rng)
            ahead.release(TASKS_A_KILL)
        over.wait(0.005)
    poster.join()
    assert over.is_set(), "the poster has failed"
    ask = running.client()
    stats = running.wait_for(
        lambda: (s := ask("call", "stats"))["tasking_num"] == 0 and s, "all are over"
    )
    done = Counter(entry[3] for entry in running.journal("once"))
    assert set(promised) <= done.keys(), "a task that was promised is lost"
    assert sum(done.values()) - len(done) <= len(killed), "more repeats than kills"
    assert stats["task_count"] == stats["task_done"] == len(done)
    assert stats["task_failed"] == stats["task_retries"] <= len(killed)
    assert len(killed) >= TASKS // TASKS_A_KILL - 2
    print(
        f"mode {mode}: {len(promised)} promised, {len(killed)} kills, {stats['task_retries']} retries"
    )


def test_a_poisonous_task_takes_nobody_along(start, mode, tmp_path):
    """D12: buried after exactly its attempts; until then the others wait for less than a second."""
    path = tmp_path / "letters"
    running = start(
        task_ipc_mode=mode,
        task_worker_num=2,
        task_max_attempts=5,
        task_retry_delays=(0,),
        dead_letter_path=str(path),
    )
    ask, other = running.client(), running.client()
    other.tell("await", "task_async", ("die_until", 99), LOOK)

    def waits() -> list[float]:
        delays = []
        for number in range(300):
            began = time.monotonic()
            assert ask("await", "task_async", ("finish", number), LOOK) == number
            delays.append(time.monotonic() - began)
        return sorted(delays)

    delays = waits()
    with pytest.raises(Refused, match=r"TaskFailed.*after 5 attempts.*died: signal 9"):
        other.hear()
    (letter,) = DeadLetters(str(path))
    assert [each.signal for each in letter.attempts] == [9] * 5
    stats = ask("call", "stats")
    assert (stats["task_retries"], stats["task_failed"], stats["task_buried"]) == (4, 5, 1)
    print(f"mode {mode}: the others' 99th percentile {delays[-4] * 1e3:.1f} ms")
    assert delays[-4] < 1 + 10 * waits()[-4], "as long as without it, and less than a second"


@pytest.mark.needs_root
def test_a_full_disk_costs_the_task_that_needs_it(start, tmp_path):
    """D14: the others go on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", disk], check=True, timeout=LOOK
    )
    running = start(task_tmpdir=str(disk / "run"), task_max_attempts=1)
    try:
        ask = running.client()
        with pytest.raises(Refused, match=r"SystemCallError.*No space left.*task_tmpdir"):
            ask("call", "task", ("finish", b"x" * 2_000_000))
        with pytest.raises(Refused, match=r"TaskFailed.*No space left"):
            ask("await", "task_async", ("large", 2_000_000), LOOK)
        assert ask("await", "task_async", ("finish", b"y" * 20_000), LOOK) == b"y" * 20_000
        stats = ask("call", "stats")
        assert (stats["task_done"], stats["task_buried"], stats["tasking_num"]) == (1, 1, 0)
        running.end()
        assert os.listdir(disk / "run") == []
    finally:
        running.end()
        subprocess.run(["umount", disk], check=True, timeout=LOOK)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (os.unlink, "was removed"),
        (lambda path: (os.unlink(path), os.symlink("/etc/passwd", path)), "symbolic links"),
        (lambda path: os.truncate(path, 5), "5 bytes, .* were written"),
    ],
    ids=["removed", "a link", "cut"],
)
def test_a_spilled_body_that_somebody_spoils_fails_that_task(start, spoil, text, tmp_path):
    """D14: removed, replaced, cut."""
    running = start(task_worker_num=1, task_max_attempts=3)
    ask, other = running.client(), running.client()
    other.tell("await", "task_async", ("held", str(tmp_path / "gate"), "slow"), LOOK)
    running.wait_for(lambda: running.journal("begin"), "the task worker is busy")
    ask.tell("await", "task_async", ("finish", b"x" * 200_000), LOOK)
    (path,) = running.wait_for(lambda: list(running.runtime_dir.glob("*/task-*")), "it is spilled")
    spoil(path)
    (tmp_path / "gate").touch()
    with pytest.raises(Refused, match=f"TaskFailed.*after 1 attempts.*{text}"):
        ask.hear()
    assert other.hear() == "slow"
    assert ask("await", "task_async", ("finish", "well"), LOOK) == "well"


def test_a_full_ledger_says_what_is_full(start, tmp_path):
    running = start(task_worker_num=1, task_queue_size=3, task_memory=4096)
    ask, other = running.client(), running.client()
    other.tell("await", "task_async", ("held", str(tmp_path / "gate"), "slow"), LOOK)
    running.wait_for(lambda: running.journal("begin"), "the task worker is busy")
    assert ask("call", "task", ("finish", b"x" * 3900)) > 0
    with pytest.raises(Refused, match=r"TaskQueueFull.*task_memory=4096"):
        ask("call", "task", ("finish", b"x" * 3900))
    with pytest.raises(Refused, match=r"TaskQueueFull.*task_queue_size=3"):
        for _ in range(3):
            ask("call", "task", ("finish", b""))
    (tmp_path / "gate").touch()
    assert other.hear() == "slow"


def test_tasks_wait_for_their_delay_and_their_turn(start, mode):
    """D5: not before it is time."""
    running = start(task_ipc_mode=mode, task_worker_num=2)
    ask = running.client()
    began = time.monotonic()
    ask("call_with", "task", [("once", "late")], {"delay": 0.4})
    for number in range(20):
        ask("call_with", "task", [("once", number)], {"ordering_key": "one"})

    def told() -> list:
        return [entry[3] for entry in running.journal("once")]

    running.wait_for(lambda: "late" in told(), "it ran")
    assert time.monotonic() - began >= 0.4
    running.wait_for(lambda: len(told()) == 21, "all ran")
    assert [one for one in told() if one != "late"] == list(range(20)), "in their order"


@pytest.mark.parametrize("how", ["raise_until", "die_until"])
def test_a_retry_keeps_its_place_in_the_order_of_its_key(start, mode, how):
    """D5: what comes after a task that fails waits until its last attempt is over."""
    running = start(task_ipc_mode=mode, task_worker_num=2, task_retry_delays=[0.05])
    ask = running.client()
    ask("call_with", "task", [(how, 3)], {"ordering_key": "one"})
    ask("call_with", "task", [("once", "after it")], {"ordering_key": "one"})
    running.wait_for(lambda: running.journal("once"), "the second ran")
    words = [entry[2] for entry in running.journal() if entry[2] in {"attempt", "once"}]
    assert words == ["attempt"] * 3 + ["once"]


def test_a_worker_that_dies_in_finish_has_it_told_once_more(small, tmp_path):
    """D7: in its successor; and no third time."""
    told = tmp_path / "told"
    server = small(
        f"""
        import signal

        @server.on("receive")
        def receive(server, fd, reactor_id, data):
            server.task(data)

        @server.on("task")
        def task(server, task_id, src_worker_id, data):
            return data

        @server.on("finish")
        def finish(server, task_id, result):
            with open({str(told)!r}, "a") as file:
                print(task_id, result.decode(), file=file)
            if len(open({str(told)!r}).readlines()) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        """,
        "task_worker_num=1",
    )
    lines: list[str] = []

    def look(count: int) -> bool:
        lines[:] = told.read_text().splitlines() if told.exists() else []
        return len(lines) >= count

    with server.connect() as first:
        first.sendall(b"one")
        server.wait_for(lambda: look(2))
    with server.connect() as second:
        second.sendall(b"two")
        server.wait_for(lambda: look(3))
    assert lines == ["1 one", "1 one", "2 two"]


def test_a_key_is_stored_once_while_it_waits_or_runs(start, tmp_path):
    """D6: the same id is returned."""
    running = start(task_worker_num=1)
    ask, other = running.client(), running.client()
    other.tell("await", "task_async", ("held", str(tmp_path / "gate"), "slow"), LOOK)
    running.wait_for(lambda: running.journal("begin"), "the task worker is busy")
    first = ask("call_with", "task", [("once", 1)], {"dedup_key": "k"})
    assert ask("call_with", "task", [("once", 2)], {"dedup_key": "k"}) == first
    assert ask("call_with", "task", [("once", 3)], {"dedup_key": "other"}) != first
    (tmp_path / "gate").touch()
    assert other.hear() == "slow"
    running.wait_for(lambda: ask("call", "stats")["tasking_num"] == 0, "all ran")
    assert [entry[3] for entry in running.journal("once")] == [1, 3]
    assert ask("call_with", "task", [("once", 4)], {"dedup_key": "k"}) != first


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("dies", ["finish", "read", "exit", "task_failed"])
def test_a_result_that_its_worker_cannot_survive(small, tmp_path, dies, workers):
    """D7, F7: once more; then a dead letter, and `task_failed` in another process."""
    told, letters = tmp_path / "told", tmp_path / "letters"
    server = small(
        f"""
        import signal

        class Deadly:
            def __reduce__(self):
                return os._exit, (7,)

        def note(*words):
            with open({str(told)!r}, "a") as file:
                print(*words, file=file)

        @server.on("receive")
        def receive(server, fd, reactor_id, data):
            server.task(data)

        @server.on("task")
        def task(server, task_id, src_worker_id, data):
            note("task", data.decode())
            return Deadly() if {dies!r} == "read" and data == b"bad" else data

        @server.on("finish")
        def finish(server, task_id, result):
            note("finish", result.decode(), os.getpid())
            if result == b"bad":
                if {dies!r} == "exit":
                    os._exit(5)
                os.kill(os.getpid(), signal.SIGKILL)

        @server.on("task_failed")
        def task_failed(server, task_id, error):
            note("failed", task_id, os.getpid())
            if {dies!r} == "task_failed":
                os.kill(os.getpid(), signal.SIGKILL)
        """,
        f"task_worker_num=1, worker_num={workers}, dead_letter_path={str(letters)!r}",
    )
    lines: list[list[str]] = []

    def look(word: str, count: int) -> bool:
        lines[:] = [line.split() for line in told.read_text().splitlines()] if told.exists() else []
        return sum(line[0] == word for line in lines) >= count

    def good_is_finished() -> bool:
        with contextlib.suppress(OSError), server.connect() as client:  # a worker may just die
            client.sendall(b"good")
        return look("finish", 1) and any(line[:2] == ["finish", "good"] for line in lines)

    with server.connect() as client:
        client.sendall(b"bad")
        server.wait_for(lambda: look("failed", 2 if dies == "task_failed" else 1))
    server.wait_for(good_is_finished)  # the others' results are delivered
    log = server.end()
    assert [line for line in lines if line[0] == "task"].count(["task", "bad"]) == 1
    failed = [line for line in lines if line[0] == "failed"]
    assert [line[1] for line in failed] == ["1"] * (2 if dies == "task_failed" else 1)
    killed = {line[2] for line in lines if line[:2] == ["finish", "bad"]}
    assert len(killed) == (0 if dies == "read" else 2)
    assert failed[0][2] not in killed
    (letter,) = (one for one in DeadLetters(str(letters)) if one.task_id == 1)
    assert letter.data == b"bad"
    assert "died 2 times while it was given the result" in letter.error
    if dies == "task_failed":
        assert "the dead letter has all of it" in log


@pytest.mark.parametrize("form", ["def", "async def"])
@pytest.mark.parametrize(
    ("raised", "error"),
    [
        ("SystemExit('no way')", "SystemExit: no way"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("asyncio.CancelledError('why')", "CancelledError: why"),
        ("GeneratorExit", "GeneratorExit"),
    ],
)
def test_an_attempt_that_wants_to_leave_has_failed(small, tmp_path, raised, error, form):
    """D10: by any exception; the reason is kept, and its process runs the next task."""
    told, letters = tmp_path / "told", tmp_path / "letters"
    server = small(
        f"""
        import asyncio

        @server.on("receive")
        def receive(server, fd, reactor_id, data):
            server.task(data)

        @server.on("task")
        {form} task(server, task_id, src_worker_id, data):
            with open({str(told)!r}, "a") as file:
                print(data.decode(), os.getpid(), file=file)
            if data == b"bad":
                raise {raised}
        """,
        f"task_worker_num=1, task_max_attempts=2, task_retry_delays=(0,), "
        f"dead_letter_path={str(letters)!r}",
    )

    def ran(count: int) -> bool:
        return told.exists() and len(told.read_text().splitlines()) >= count

    with server.connect() as client:
        client.sendall(b"bad")
        server.wait_for(lambda: ran(2))
        client.sendall(b"good")
        server.wait_for(lambda: ran(3))
    server.wait_for(lambda: len(list(DeadLetters(str(letters)))) == 1)
    assert "died" not in server.end()
    lines = [line.split() for line in told.read_text().splitlines()]
    assert [word for word, _ in lines] == ["bad", "bad", "good"]
    assert len({pid for _, pid in lines}) == 1
    (letter,) = DeadLetters(str(letters))
    assert [error in failure.error for failure in letter.attempts] == [True, True]

"""add_process(): processes of the user's own beside the workers."""

from __future__ import annotations

import json
import os
import select
import signal
import time

import pytest
from serving import LOOK

from ipckit.server.supervision.user_processes import Restarts

ASK = """
import json, select, signal

@server.on("receive")
def receive(server, fd, reactor_id, data):
    answer = eval(data, {"server": server, "fd": fd, "os": os})
    server.send(fd, (json.dumps(answer) + "\\n").encode())

def note(*what):
    with open(PATH, "a") as file:
        file.write(json.dumps([os.getpid(), *what]) + "\\n")
"""


DEAF = """
def mine(server):
    noted = False
    while True:
        try:
            if not noted:
                noted = True
                note("begins")
            signal.pause()
        except SystemExit:
            pass
"""


def program(tmp_path, code):
    return f"PATH = {str(tmp_path / 'journal')!r}\n{ASK}\n{code}"


def notes(tmp_path, count):
    """Wait for so many lines of the journal; return them."""
    end = time.monotonic() + LOOK
    path = tmp_path / "journal"
    while True:
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) >= count:
            return [json.loads(line) for line in lines]
        assert time.monotonic() < end, lines
        select.select([], [], [], 0.005)


def test_it_talks_to_clients_and_cleans_up_at_the_end(small, tmp_path):
    """S16: it hears of the end."""
    server = small(
        program(
            tmp_path,
            """
def mine(server):
    note("begins", server.worker_id, server.taskworker)
    try:
        try:
            server.task(1)
        except ipckit.MisuseError as exc:
            note(str(exc))
        while not server.connections:
            select.select([], [], [], 0.001)
        server.send(server.connections[0], b"from beside")
        signal.pause()
    finally:
        note("cleans up")

assert server.add_process(mine) == 0
server.set(task_worker_num=1)
server.on("task", print)
""",
        )
    )
    with server.connect() as client:
        assert client.recv(100) == b"from beside"
    log = server.end()
    pids, words = zip(*[(pid, rest) for pid, *rest in notes(tmp_path, 3)], strict=True)
    assert len(set(pids)) == 1
    assert words[0] == ["begins", 2, False]
    assert "this is a user process" in words[1][0]
    assert words[2] == ["cleans up"]
    assert "user process" not in log, "nothing went wrong"


def test_it_is_made_again_and_a_reload_leaves_it(small, tmp_path):
    """S16: made again, whatever ended it."""
    server = small(
        program(
            tmp_path,
            """
async def mine(server):
    note("begins", server.worker_id)
    server.after(0.001, note, "timer")
    await asyncio.sleep(1000)

def quits(server):
    note("quits", server.worker_id)

assert [server.add_process(mine), server.add_process(quits)] == [0, 1]
""",
        )
    )
    with server.connect() as client:
        client.sendall(b"server.reload()")
        assert client.recv(100) == b"true\n"
    end = time.monotonic() + LOOK
    while sum(word[1] == "quits" for word in notes(tmp_path, 1)) < 3:
        assert time.monotonic() < end
        select.select([], [], [], 0.005)
    first = [word for word in notes(tmp_path, 1) if word[1] != "quits"]
    assert [word[1:] for word in first] == [["begins", 1], ["timer"]], "the reload left it"
    os.kill(first[0][0], signal.SIGKILL)
    while len(mine := [word for word in notes(tmp_path, 1) if word[1] != "quits"]) < 4:
        assert time.monotonic() < end
        select.select([], [], [], 0.005)
    assert mine[2][0] == mine[3][0] != first[0][0]
    log = server.end()
    assert "user process 0 ended: signal 9 (Killed); it is made again in 0.1 s" in log
    assert "user process 1 ended: exit code 0; it is made again in 0.2 s" in log


def test_it_ends_with_the_manager(small, tmp_path):
    server = small(
        program(
            tmp_path,
            f"""{DEAF}
server.add_process(mine)
""",
        )
    )
    ((pid, _),) = notes(tmp_path, 1)
    watch = os.pidfd_open(pid)
    try:
        server.process.kill()
        assert select.select([watch], [], [], LOOK)[0], "it outlives its manager"
    finally:
        os.close(watch)
        server.process.wait(LOOK)


def test_one_that_does_not_end_is_killed(small, tmp_path):
    server = small(
        program(
            tmp_path,
            f"""{DEAF}
server.set(max_wait_time=0.2)
server.add_process(mine)
""",
        )
    )
    notes(tmp_path, 1)
    assert "did not end within max_wait_time" in server.end()


@pytest.mark.parametrize(
    ("lives", "pauses"),
    [
        ([0] * 8, [0.1, 0.2, 0.5, 1, 2, 5, 5, 5]),
        ([0, 0, 10, 0, 0], [0.1, 0.2, 0.1, 0.1, 0.2]),
    ],
)
def test_pauses_grow_until_it_lives_long(lives, pauses):
    restarts, now, found = Restarts(), 100.0, []
    for life in lives:
        due = restarts.due(now, now + life)
        found.append(round(due - now - life, 3))
        now = due
    assert found == pauses

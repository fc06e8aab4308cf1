"""Deaths that no other suite brings about: what docs/explanation/crashes.md says of them holds.

Each time a child does one thing again and again and is killed at some moment of it.
"""

from __future__ import annotations

import json
import os
import random
import select
import socket
from collections.abc import Callable

from deadlines import LOOK
from family import family

from ipckit import Bytes, Int, NotFound, QueueEmpty, SysvQueue, Table, TaskClient
from ipckit.queue import php_format
from ipckit.server.tasks.dead_letters import DeadLetter, DeadLetters
from ipckit.server.tasks.retry_policy import Failure
from ipckit.server.tasks.spill import SpillDirectory

KILLS = 60
KEY = 0x71D00000 + os.getpid() % 0x10000


def killed_at_it(times: int, act: Callable[[int], None], look: Callable[[], None]) -> None:
    """Have a child `act(0)`, `act(1)`, ... and kill it, a few ms after it began; then `look()`."""
    rng = random.Random(11)
    for _ in range(times):
        began, tell = os.pipe()

        def work(tell: int = tell) -> None:
            number = 0
            while True:
                act(number)
                if number == 0:
                    os.write(tell, b"!")
                number += 1

        with family() as start:
            child = start(work)
            os.close(tell)
            assert select.select([began], [], [], LOOK)[0] and os.read(began, 1) == b"!"
            select.select([], [], [], rng.uniform(0, 0.004))  # the moment of the kill
            assert child.kill() == -9
        os.close(began)
        look()


def test_a_task_client_that_dies_in_post_leaves_whole_messages():
    """What is in the queue is the whole text of a task; nothing of it is half there."""
    task = ["resize", "photo" * 100, 0]
    seen = []
    with SysvQueue.create(KEY) as queue, TaskClient(KEY) as client:

        def look() -> None:
            while True:
                try:
                    _, body = queue.receive_nowait()
                except QueueEmpty:
                    return
                assert php_format.loads(body)[:2] == task[:2]
                seen.append(body)

        killed_at_it(KILLS, lambda number: client.post([*task[:2], number], dst=0), look)
        queue.remove()
    assert len(seen) >= KILLS


def test_who_dies_while_it_makes_a_named_table_leaves_none_or_a_whole_one():
    """The file has no name before it is whole."""
    name = f"test.deaths.{os.getpid()}"
    found = []

    def act(_number: int) -> None:
        Table(2000, columns={"n": Int(8), "body": Bytes(100)}, name=name).remove()

    def look() -> None:
        try:
            table = Table.open(name)
        except NotFound:
            found.append(False)
            return
        assert table.verify() == [] and len(table) == 0
        table.remove()
        found.append(True)

    killed_at_it(KILLS, act, look)
    assert len(found) == KILLS


def test_who_dies_while_it_iterates_over_a_table_holds_up_nobody():
    """Iterating takes no lock."""
    with Table(200, columns={"n": Int(8)}) as table:
        for number in range(200):
            table[str(number)] = {"n": number}

        def look() -> None:
            for number in range(200):
                with table.lock(str(number), timeout=LOOK) as row:
                    row["n"] += 1
            assert table.verify() == []

        killed_at_it(KILLS, lambda _: list(table.items()), look)
        assert [table.get(str(number), "n") for number in range(200)] == [
            number + KILLS for number in range(200)
        ]


def test_who_dies_while_it_writes_dead_letters_leaves_whole_ones(tmp_path):
    """A letter is there whole or not at all, and the next one can be written."""
    letters = DeadLetters(str(tmp_path / "letters"))
    failures = Failure("KeyError: first", "trace" * 50, None, 1.5), Failure("last", "", 9, 2.5)

    def act(number: int) -> None:
        letters.add(DeadLetter(0, number, -1, -1, "php", b"i:5;", failures, 1.0, 3.0))

    def look() -> None:
        found = list(letters)
        assert all(one.data == 5 and one.attempts == failures for one in found)
        for one in found[:-1]:
            letters.remove(one.id)

    killed_at_it(KILLS // 3, act, look)
    assert len(letters) == 1


def test_who_dies_while_it_writes_spill_files_leaves_whole_ones(tmp_path):
    """A file has no name before it is whole."""
    spill = SpillDirectory(str(tmp_path / "run"))
    body = bytes(range(256)) * 2048

    def look() -> None:
        for name in os.listdir(spill.path):
            assert spill.read(name) == body
            spill.remove(name)

    killed_at_it(KILLS, lambda number: spill.write(f"task-{number}", body), look)
    spill.destroy()


def test_who_dies_while_it_asks_the_control_socket_harms_nobody(small, tmp_path):
    """The question is dropped; the next one is answered."""
    path = str(tmp_path / "control")
    small("server.on('receive', lambda *args: None)", f"control_path={path!r}")

    def ask(number: int) -> dict:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(LOOK)
            sock.connect(path)
            sock.sendall(b'{"command": "connections", "start": %d}\n' % number)
            answer = b""
            while not answer.endswith(b"\n"):
                answer += sock.recv(65536)
        return json.loads(answer)

    def look() -> None:
        assert "error" not in ask(0)

    killed_at_it(KILLS // 2, ask, look)

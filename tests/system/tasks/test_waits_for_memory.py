"""task_later() that waits for bytes of the arena sleeps until some are freed, and is not forgotten."""

from __future__ import annotations

import socket

import pytest
from serving import Small

WAITING = """
import mmap
wakeups = mmap.mmap(-1, 4096)  # of all workers
gate, opened = os.pipe()

def begin(server, worker_id):
    if server.taskworker:
        return
    submitter, loop = server._tasks, asyncio.get_running_loop()

    def counted():
        at = 8 * (1 + worker_id)
        wakeups[at : at + 8] = (int.from_bytes(wakeups[at : at + 8], "little") + 1).to_bytes(8, "little")
        submitter.woken()

    loop.add_reader(submitter.wakeup, counted)

async def receive(server, fd, reactor_id, data):
    if data == b"post":
        await server.task_later(bytes({size}), **{wish})
        os.write(1, b"stored\\n")
    elif data == b"open":
        os.write(opened, bytes(100))
    else:
        counts = [int.from_bytes(wakeups[at : at + 8], "little") for at in range(8, 8 * 9, 8)]
        server.send(fd, b"%d,%d\\n" % (sum(counts), server.worker_id))

def run(server, task_id, source, data):
    os.write(1, b"begun\\n")
    os.read(gate, 1)

server.on("worker_start", begin)
server.on("receive", receive)
server.on("task", run)
server.on("finish", print)
"""


def _ask(client) -> list[int]:
    client.sendall(b"count")
    return [int(part) for part in client.recv(100).split(b",")]


def _one_at_each(server, workers: int) -> dict[int, socket.socket]:
    """Return a connection to each worker."""
    found: dict[int, socket.socket] = {}
    while len(found) < workers:
        client = server.connect()
        _, worker = _ask(client)
        if found.setdefault(worker, client) is not client:
            client.close()
    return found


@pytest.mark.parametrize("workers", [1, 2], ids=["one worker", "two workers"])
@pytest.mark.parametrize(
    ("size", "wish"), [(3000, {}), (3000, {"delay": 0.001}), (5000, {})], ids=str
)
def test_a_submitter_that_waits_for_memory_sleeps(workers, size, wish):
    """R: a failed attempt wakes neither its own process nor, again and again, another that waits.

    The attempt takes a record and gives it back, which wakes everybody that waits for room.
    """
    server = Small(
        WAITING.format(size=size, wish=wish),
        f"worker_num={workers}, task_worker_num=1, task_queue_size=100, task_memory=4096",
    )
    clients = _one_at_each(server, workers)
    posters = _one_at_each(server, workers)
    first = next(iter(posters.values()))
    first.sendall(b"post")
    assert {server.line(), server.line()} == {b"stored\n", b"begun\n"}
    for poster in posters.values():
        poster.sendall(b"post")
    for _ in range(50):  # turns of each loop, after those in which they began to wait
        for client in clients.values():
            _ask(client)
    before, _ = _ask(clients[0])
    for _ in range(200):
        for client in clients.values():
            _ask(client)
    after, _ = _ask(clients[0])
    assert after - before <= 4
    clients[0].sendall(b"open")
    lines = [server.line() for _ in range(2 * workers)]
    assert lines.count(b"stored\n") == lines.count(b"begun\n") == workers
    for client in (*clients.values(), *posters.values()):
        client.close()
    server.end()

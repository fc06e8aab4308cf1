"""A process that has no free descriptor when a message or a connection comes: it waits in the inbox."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

import pytest
from serving import LOOK

PARTS = """
import resource, signal

kept = []
limit = resource.getrlimit(resource.RLIMIT_NOFILE)

def fill():
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 5, limit[1]))
    try:
        while True:
            kept.append(os.dup(0))
    except OSError:
        pass

def free(*_):
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    while kept:
        os.close(kept.pop())
"""
MESSAGES = (
    PARTS
    + """
@server.on("worker_start")
def worker_start(server, worker_id):
    signal.signal(signal.SIGUSR1, free)

def on_message(message):
    if message == "fill":
        fill()
        print(os.getpid(), flush=True)
    else:
        print(len(message), flush=True)

def tell(dst, what):
    for message in ["fill"] if what == b"fill" else [b"x" * 200_000, b"last"]:
        server.send_message(message, dst)

@server.on("receive")
def receive(server, fd, reactor_id, data):
    tell(1, data) if {to_task_worker} else server.task(data)

@server.on("task")
def task(server, task_id, source, data):
    tell(0, data)

@server.on("pipe_message")
{asynchronous}def pipe_message(server, source, message):
    on_message(message)
"""
)


def logged(server, text: str) -> None:
    """Wait for a line of the log."""
    end = time.monotonic() + LOOK
    seen = b""
    while text.encode() not in seen:
        assert select.select([server.process.stderr], [], [], end - time.monotonic())[0], seen
        seen += os.read(server.process.stderr.fileno(), 65536)


@pytest.mark.parametrize(
    ("to_task_worker", "asynchronous"),
    [(False, ""), (True, ""), (True, "async ")],
    ids=["worker", "task worker", "task worker on a loop"],
)
def test_f12_a_large_message_waits_for_a_descriptor(small, to_task_worker, asynchronous):
    """F12, S17: it comes whole, in order, when there is one."""
    code = MESSAGES.format(to_task_worker=to_task_worker, asynchronous=asynchronous)
    server = small(code, "task_worker_num=1")
    with server.connect() as client:
        client.sendall(b"fill")
        pid = int(server.line())
        client.sendall(b"go")
        logged(server, "no descriptor is free")
        os.kill(pid, signal.SIGUSR1)
        assert [int(server.line()), int(server.line())] == [200_000, 4]


HANDED_OVER = (
    PARTS
    + """
@server.on("receive")
async def receive(server, fd, reactor_id, data):
    if data == b"reload":
        server.reload()
        while not os.path.exists({over!r}):
            await asyncio.sleep(0.005)
    elif data == b"fill" and os.getpid() != first[0]:
        fill()
    elif data == b"free":
        free()
    server.send(fd, b"%d" % os.getpid())

first = []

@server.on("worker_start")
def worker_start(server, worker_id):
    try:
        os.mkdir({begun!r})
        first.append(os.getpid())
    except FileExistsError:
        first.append(0)
"""
)


def ask(client, what: bytes) -> int:
    """Return the pid of the process that answers."""
    client.sendall(what)
    return int(client.recv(100))


def test_f12_a_connection_that_is_handed_over_waits_for_a_descriptor(small, tmp_path):
    """F12, S12: the client goes on in the successor."""
    begun, over = tmp_path / "begun", tmp_path / "over"
    server = small(HANDED_OVER.format(begun=str(begun), over=str(over)))
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(server.connect())
        old = ask(client, b"who")
        client.sendall(b"reload")

        def of_the_successor():
            other = stack.enter_context(server.connect())
            return other if ask(other, b"fill") != old else None

        while (other := of_the_successor()) is None:
            pass
        new = ask(other, b"who")
        over.touch()
        assert int(client.recv(100)) == old
        logged(server, "no descriptor is free")
        client.sendall(b"who")
        assert ask(other, b"free") == new
        assert int(client.recv(100)) == new

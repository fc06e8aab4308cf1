"""What a callback raises, also SystemExit and its like, is logged and counted; the connection and the
process go on, and nothing leaks.
"""

from __future__ import annotations

import socket

import pytest
from ends import GATED, LINES, ask
from serving import LOOK, wait_for

RAISING = """
import asyncio, json, time
ERRORS = {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt,
          "GeneratorExit": GeneratorExit, "CancelledError": asyncio.CancelledError,
          "BaseException": BaseException}
Error = ERRORS[ERROR]
told = []

def note(event):
    told.append(event)

@server.on("connect")
def connect(server, fd, reactor_id):
    note("connect")
    raise Error

@server.on("receive")
def receive(server, fd, reactor_id, data):
    word, _, rest = data.decode().strip().partition(" ")
    if word == "tell":
        server.send(fd, (json.dumps(eval(rest, dict(globals(), server=server, fd=fd))) + "\\n").encode())
    elif word == "async":
        return later(fd)
    elif word == "timer":
        server.after(0.001, fail, "timer")
        server.after(0.001, fail_later, "async timer")
    elif word == "message":
        server.send_message("hello", 1 - server.worker_id)
    elif word == "task":
        server.task("data")
    else:
        note("receive")
        raise Error

async def later(fd):
    await asyncio.sleep(0)
    note("async receive")
    raise Error

def fail(event):
    note(event)
    raise Error

async def fail_later(event):
    await asyncio.sleep(0)
    note(event)
    raise Error

@server.on("finish")
def finish(server, task_id, result):
    fail("finish")

@server.on("task")
def task(server, task_id, worker_id, data):
    return data

@server.on("close")
async def close(server, fd, reactor_id):
    await asyncio.sleep(0)
    note("close")
    raise Error

@server.on("worker_exit")
def worker_exit(server, worker_id):
    print(f"worker_exit {worker_id}", flush=True)
    raise Error

@server.on("worker_stop")
async def worker_stop(server, worker_id):
    print(f"worker_stop {worker_id}", flush=True)
    raise Error

extra = server.listen("127.0.0.1", 0, ipckit.SockType.UDP)

@extra.on("packet")
def packet(server, data, client):
    server.sendto(client["address"], client["port"], data)
    note("packet")
    if data == b"later":
        return fail_later("async packet")
    raise Error
"""
ERRORS = ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "CancelledError", "BaseException"]


@pytest.mark.parametrize("error", ERRORS)
def test_whatever_a_callback_raises_the_worker_goes_on_and_no_session_leaks(small, error):
    """S10, F13, F18: in every event of a worker, in its timers, in `def` and in `async def`."""
    server = small(
        RAISING.replace("ERROR]", f"{error!r}]"),
        LINES + ", max_connection=3, task_worker_num=1",
    )
    sock = server.connect()
    for word in (b"bad", b"async", b"timer", b"task", b"bad", b"async"):
        sock.sendall(word + b"\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(LOOK)
        for data in (b"now", b"later"):
            datagrams.sendto(data, ("127.0.0.1", ask(sock, "extra.port")))
            assert datagrams.recv(10) == data
    words = "receive receive timer finish packet packet connect".split()
    expected = sorted([*words, *["async receive"] * 2, "async timer", "async packet"])
    wait_for(lambda: len(ask(sock, "told")) == len(expected))
    assert sorted(ask(sock, "told")) == expected
    wait_for(lambda: ask(sock, "server.stats()['callback_errors']") == len(expected) - 1)
    for _ in range(10):
        with server.connect() as other:
            other.sendall(b"bad\nasync\n")
            other.shutdown(socket.SHUT_WR)
            assert other.recv(10) == b"", "its session has ended, and it was not refused"
    sock.close()
    sock = server.connect()
    wait_for(lambda: ask(sock, "told.count('close')") == 11)
    assert ask(sock, "server.connections") == [ask(sock, "fd")]
    stats = ask(sock, "server.stats()")
    assert (stats["connection_num"], stats["idle_worker_num"]) == (1, 0)
    assert stats["callback_errors"] == len(expected) - 1 + 4 * 10 + 1 + 1
    sock.close()
    log = server.end()
    assert "worker_exit 0" in log and "worker_stop 0" in log and error in log


def test_a_pipe_message_that_raises_systemexit_leaves_the_worker(small):
    """S10, F18: pipe_message, of a worker and of a task worker."""
    server = small(
        """
        @server.on("receive")
        def receive(server, fd, reactor_id, data):
            server.send_message("hello", 1)
            server.send(fd, str(server.stats()["callback_errors"]).encode())

        @server.on("pipe_message")
        def pipe_message(server, source, message):
            sys.exit("enough")

        @server.on("task")
        def task(server, task_id, worker_id, data):
            pass
        """,
        "task_worker_num=1",
    )
    before = server.children()
    with server.connect() as sock:

        def errors():
            sock.sendall(b"x")
            return int(sock.recv(10))

        wait_for(lambda: errors() >= 3)
    assert server.children() == before
    assert "SystemExit: enough" in server.end()


def test_a_cancelled_receive_loses_no_packet_behind_it(small):
    """S10, F13: it is logged and counted, and what waits is handed out."""
    server = small(
        GATED
        + """
handled = []

async def bad(server, fd, rest):
    task = asyncio.ensure_future(asyncio.sleep(100))
    asyncio.get_running_loop().call_soon(task.cancel)
    await task

async def own(server, fd, rest):
    asyncio.current_task().cancel()
    await asyncio.sleep(0)

async def good(server, fd, rest):
    handled.append(rest)
    server.send(fd, rest.encode())
""",
        LINES,
    )
    with server.connect() as other, server.connect() as sock:
        sock.sendall(b"bad\ngood 1\nown\ngood 2\n")
        other.sendall(b"go\n")
        got = b""
        while len(got) < 2:
            got += sock.recv(10)
        assert got == b"12"
        assert ask(other, "server.stats()['callback_errors']") == 2
    assert server.end().count("receive raised") == 2

"""Processes that leave: a limit for each, a log line, and nothing lost.

Reloads, replacements and the end, beside requests that take long, callbacks that block, programs
that change their signal handlers, and processes that are not up yet.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest
from deadlines import LOOK
from serving import RELEASED, wait_for

PROGRAM = (
    """
import signal, threading, time

def say(*words):  # one write: several processes share the pipe
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

"""
    + RELEASED
    + """
def block(server):
    say("blocks", server.worker_id)
    threading.Event().wait()

@server.on("receive")
async def receive(server, fd, reactor_id, data):
    word, _, rest = data.decode().partition(" ")
    if word == "who":
        server.send(fd, str(os.getpid()).encode())
    elif word == "released":
        say("begins")
        await released(rest)
        server.send(fd, b"answer of " + str(os.getpid()).encode())
    elif word == "block":
        block(server)
    elif word == "block_later":
        await released(rest)
        block(server)
    elif word == "block_task":
        server.task("block")
    elif word == "ask":
        server.send(fd, await server.task_async(rest))
    elif word == "stop":
        for number in rest.split():
            server.stop(int(number))
        server.send(fd, b"asked")

@server.on("task")
def task(server, task_id, source, data):
    if data == "block":
        block(server)
    say("begins")
    with open(data, "rb") as fifo:
        return fifo.read()

@server.on("finish")
def finish(server, task_id, result):
    say("finish", result.decode())

@server.on("worker_stop")
def worker_stop(server, worker_id):
    say("worker_stop", worker_id)

@server.on("after_reload")
def after_reload(server):
    say("reloaded")
"""
)


def words_until(server, last: str) -> list[str]:
    """Read lines of the program up to one that is `last`."""
    words: list[str] = []
    while last not in words:
        line = server.line()
        assert line, f"not within {LOOK:g} s: {last!r} after {words}"
        words.append(line.decode().strip())
    return words


@pytest.fixture
def fifo(tmp_path) -> str:
    os.mkfifo(tmp_path / "fifo")
    return str(tmp_path / "fifo")


def release(fifo: str, text: bytes = b"x") -> None:
    """Write to whoever reads the FIFO; it fails when nobody does."""

    def read() -> bool:
        nonlocal fd
        with contextlib.suppress(OSError):  # ENXIO: nobody has opened it
            fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        return fd >= 0

    fd = -1
    wait_for(read)
    os.write(fd, text)
    os.close(fd)


def ask(sock, what: str) -> bytes:
    sock.sendall(what.encode())
    return sock.recv(100)


def test_a_request_that_takes_longer_than_max_wait_time_is_answered_at_a_reload(small, fifo):
    """F16, S50: reload_timeout is the limit of a reload, not max_wait_time."""
    server = small(PROGRAM, "max_wait_time=0.2, reload_timeout=1000")
    with server.connect() as client:
        client.sendall(f"released {fifo}".encode())
        words_until(server, "begins")
        began = time.monotonic()
        server.process.send_signal(signal.SIGUSR1)
        server.wait_for(lambda: time.monotonic() > began + 1)  # long after max_wait_time
        release(fifo)
        old = int(client.recv(100).removeprefix(b"answer of "))
        words_until(server, "reloaded")
        new = int(ask(client, "who"))
        assert new != old, "the connection goes on in the successor"
        assert server.children() == {new}
    assert "work under way" not in server.end()


@pytest.mark.parametrize("limit", [0.3, 0])
def test_what_a_reload_cuts_is_logged_and_its_result_goes_to_the_successor(small, fifo, limit):
    """F16, D7, S50: the setting's name, how many are cut, and nothing that was computed is lost."""
    server = small(PROGRAM, f"task_worker_num=1, reload_timeout={limit}, max_wait_time=1000")
    with server.connect() as client:
        client.sendall(f"ask {fifo}".encode())
        words_until(server, "begins")
        server.process.send_signal(signal.SIGUSR1)
        words_until(server, "worker_stop 0")
        assert client.recv(100) == b"", "it is cut"
        release(fifo, b"computed")
        words_until(server, "finish computed")
    log = server.end()
    assert f"reload_timeout={limit} s is over; 1 connections are cut, the results of 1 tasks" in log


def who_blocks(server) -> int:
    """Return the number of the worker that blocks from now on."""
    word, number = server.line().split()
    assert word == b"blocks"
    return int(number)


LIMITS = "reload_timeout=0.3, max_wait_time=0.2"


def is_killed(log: str, blocked: int, limit: str = "0.3") -> None:
    """S50."""
    assert f"worker {blocked} (process" in log and f"reload_timeout={limit} s" in log
    assert "in block" in log, "the stack dump"


@pytest.mark.parametrize("what", ["block", "block_task"])
@pytest.mark.parametrize("how", ["reload", "stop"])
def test_who_is_blocked_and_shall_leave_is_killed_with_a_stack_dump(small, what, how):
    """F20, F34, S50: a deadline, a log line, and the next reload has its turn."""
    server = small(PROGRAM, f"worker_num=2, task_worker_num=1, {LIMITS}")
    old = server.children()
    with server.connect() as client, contextlib.suppress(ConnectionError):
        client.sendall(what.encode())
        blocked = who_blocks(server)
        if how == "reload":
            server.process.send_signal(signal.SIGUSR1)
            words_until(server, "reloaded")
            assert not old & server.children()
        else:
            with server.connect() as other:  # of the worker that does not block
                assert ask(other, f"stop {blocked}") == b"asked"
            server.wait_for(lambda: len(old & server.children()) == 2)
        if what == "block":  # a task that is cut is tried again, and blocks again
            server.process.send_signal(signal.SIGUSR1)
            words_until(server, "reloaded")
    is_killed(server.end(), blocked)


def test_a_worker_that_retires_and_then_blocks_is_killed_with_a_stack_dump(small, fifo):
    """F34, S50: its last request blocks when its successor serves already."""
    limits = "reload_timeout=5, max_wait_time=0.2"  # it blocks before they are over
    server = small(PROGRAM, f"max_request=2, max_request_grace=0, {limits}")
    (first,) = server.children()
    with server.connect() as client, contextlib.suppress(ConnectionError):
        client.sendall(f"block_later {fifo}".encode())
        with server.connect() as other:
            assert int(ask(other, "who")) == first
            server.wait_for(lambda: int(ask(other, "who")) != first)
        release(fifo)
        blocked = who_blocks(server)
        server.wait_for(lambda: first not in server.children())
    is_killed(server.end(), blocked, "5")


@pytest.mark.parametrize("change", ["lambda *_: None", "signal.SIG_IGN"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_program_that_takes_sigterm_away_is_reloaded_and_ends(small, change, asynchronous):
    """F20: the manager's wish is looked for without the signal."""
    start = f"""
@server.on("worker_start")
{"async " if asynchronous else ""}def worker_start(server, worker_id):
    signal.signal(signal.SIGTERM, {change})
"""
    server = small(PROGRAM + start, "task_worker_num=1")
    old = server.children()
    server.process.send_signal(signal.SIGUSR1)
    words_until(server, "reloaded")
    assert not old & server.children() and len(server.children()) == 2
    log = server.end()
    assert "did not end" not in log
    assert {"worker_stop 0", "worker_stop 1"} <= set(log.splitlines())


def test_idle_clients_cost_nobody_its_worker_stop(small):
    """F38, S18: max_wait_time is no longer than a connection lingers that its client keeps open."""
    server = small(PROGRAM, "worker_num=2, max_wait_time=1")
    with contextlib.ExitStack() as clients:
        for _ in range(20):
            ask(clients.enter_context(server.connect()), "who")
        log = server.end()
    assert "did not end" not in log
    assert {"worker_stop 0", "worker_stop 1"} <= set(log.splitlines())


def test_a_blocked_task_worker_costs_no_worker_its_worker_stop(small):
    """F38: the workers' end begins within max_wait_time, whoever else is blocked."""
    server = small(PROGRAM, "task_worker_num=1, max_wait_time=0.3")
    with server.connect() as client:
        client.sendall(b"block_task")
        assert who_blocks(server) == 1
    log = server.end()
    assert "worker 1 did not end within max_wait_time" in log
    assert "worker 0 did not end" not in log
    assert "worker_stop 0" in log.splitlines()


BOOTING = """
@server.on("worker_start")
async def worker_start(server, worker_id):
    if os.path.exists({flag!r}):
        os.unlink({flag!r})
        say("held")
        {held}
"""


def test_a_reload_while_a_process_boots_replaces_that_one_too(small, fifo, tmp_path):
    """F39, S51: what boots has read the old code already."""
    flag = str(tmp_path / "flag")
    held = f"await released({fifo!r})"
    server = small(PROGRAM + BOOTING.format(flag=flag, held=held))
    (first,) = server.children()
    open(flag, "wb").close()
    os.kill(first, signal.SIGKILL)
    words_until(server, "held")
    (booting,) = server.children()
    server.process.send_signal(signal.SIGUSR1)
    server.wait_for(lambda: not signal_is_pending(server.process.pid))
    release(fifo)
    words_until(server, "reloaded")
    assert booting not in server.children() and len(server.children()) == 1
    server.end()


@pytest.mark.parametrize("held", ["server.stop()", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_who_asks_for_its_replacement_in_worker_start_is_replaced(small, tmp_path, held):
    """F40: also by a SIGTERM of somebody else's that comes while it boots."""
    flag = str(tmp_path / "flag")
    server = small(PROGRAM + BOOTING.format(flag=flag, held=held))
    (first,) = server.children()
    open(flag, "wb").close()
    os.kill(first, signal.SIGKILL)
    words_until(server, "worker_stop 0")
    server.wait_for(lambda: len(server.children()) == 1)
    server.end()


def test_stop_of_a_process_that_boots_comes_when_it_is_up(small, fifo, tmp_path):
    """F40, S51: another worker asks for it."""
    flag = str(tmp_path / "flag")
    held = f"await released({fifo!r})"
    server = small(PROGRAM + BOOTING.format(flag=flag, held=held), "worker_num=2")
    with server.connect() as client:
        staying = int(ask(client, "who"))
        (other,) = server.children() - {staying}
        open(flag, "wb").close()
        os.kill(other, signal.SIGKILL)
        words_until(server, "held")
        (booting,) = server.children() - {staying}
        assert ask(client, "stop 0 1") == b"asked"
        server.wait_for(lambda: staying not in server.children())  # so the other was heard of too
        release(fifo)
        server.wait_for(lambda: booting not in server.children() and len(server.children()) == 2)
    server.end()


def signal_is_pending(pid: int) -> bool:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file)
    return any(int(lines[name], 16) for name in ("SigPnd", "ShdPnd"))


FLOOD = """
FIFO = os.open({fifo!r}, os.O_RDWR)

@server.on("receive")
def receive(server, fd, reactor_id, data):
    word, *rest = data.decode().split()
    if word == "who":
        server.send(fd, f"{{server.worker_id}} {{fd}}".encode())
    elif word == "block":
        print("blocks", flush=True)
        os.read(FIFO, 1)
    elif word == "flood":
        for _ in range({count}):
            server.send(int(rest[0]), bytes(100))
        server.stop()

@server.on("worker_stop")
def worker_stop(server, worker_id):
    print("worker_stop", worker_id, flush=True)
"""


def test_what_is_sent_to_a_worker_that_reads_slowly_is_waited_for(small, fifo):
    """S8, S11: it takes longer than max_wait_time for all of it, and for none of its parts."""
    count = 10_000  # its inbox holds a part of that, and it reads 256 in a turn
    server = small(FLOOD.format(fifo=fifo, count=count), "worker_num=2, max_wait_time=4")
    with contextlib.ExitStack() as clients:
        of: dict[str, list] = {"0": [], "1": []}
        while len(of["0"]) < 3 or not of["1"]:
            client = clients.enter_context(server.connect())
            worker, session = ask(client, "who").decode().split()
            of[worker].append((client, session))
        (target, session), *blocking = of["0"]
        blocking[0][0].sendall(b"block")
        assert server.line() == b"blocks\n"
        of["1"][0][0].sendall(f"flood {session}".encode())
        words_until(server, "worker_stop 1")
        for step in range(1, 7):
            blocking[step % 2][0].sendall(b"block")  # it is heard in the turn after this one
            began = time.monotonic()
            server.wait_for(lambda began=began: time.monotonic() > began + 1)
            release(fifo)
            assert server.line() == b"blocks\n"
        release(fifo)
        received = 0
        while received < 100 * count and (part := target.recv(1 << 20)):
            received += len(part)
        log = server.end()
    assert "others have not taken" not in log

"""Ten thousand connections, a thousand too many, and clients that mean no good."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import selectors
import signal
import socket
import struct
import time
from collections import Counter
from pathlib import Path

import pytest
from serving import LOOK, sleeps

WHO = """
@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send(fd, b"%d\\n" % os.getpid())
"""
MANY = 10_000
SOAK = os.environ.get("IPCKIT_SOAK") == "1"


@pytest.fixture(autouse=True)
def _room_for_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 4 * MANY) if hard != resource.RLIM_INFINITY else 4 * MANY
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory(pid: int) -> int:
    """Return bytes that only this process has."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Private_Dirty")


def answers(socks: list[socket.socket], seconds: float = LOOK) -> set[int]:
    """Ask all of them at once; return who answered. Each must."""
    waiting = selectors.DefaultSelector()
    for sock in socks:
        sock.sendall(b"who\n")
        waiting.register(sock, selectors.EVENT_READ)
    who = set()
    until = time.monotonic() + seconds
    while waiting.get_map():
        assert time.monotonic() < until, f"{len(waiting.get_map())} do not answer"
        for key, _ in waiting.select(1):
            answer = key.fileobj.recv(100)
            assert answer.endswith(b"\n"), "it was closed"
            who.add(int(answer))
            waiting.unregister(key.fileobj)
    waiting.close()
    return who


def test_ten_thousand_idle_connections_and_a_reload_of_them(small):
    server = small(WHO, "max_connection=12_000, max_wait_time=30")
    with contextlib.ExitStack() as stack:
        first = [stack.enter_context(server.connect()) for _ in range(100)]
        (pid,) = answers(first)
        before = memory(pid)
        socks = first + [stack.enter_context(server.connect()) for _ in range(MANY - 100)]
        assert answers(socks) == {pid}
        each = (memory(pid) - before) / (MANY - 100)
        print(f"{MANY} connections: {each:.0f} bytes of the worker's memory each")
        assert each < 10 * 4096
        began = time.monotonic()
        server.process.send_signal(signal.SIGUSR1)
        server.wait_for(lambda: server.children() and pid not in server.children())
        print(
            f"handed over after {time.monotonic() - began:.2f} s, the new process's start included"
        )
        (new,) = answers(socks)
        assert new != pid
        server.wait_for(lambda: sleeps(new))  # it has counted the last answer, too
        os.kill(new, signal.SIGKILL)
        server.wait_for(lambda: server.children() and new not in server.children())
        (last,) = answers(socks)
        assert last not in (pid, new)
    server.wait_for(lambda: len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < 100)


FEW = (
    """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
"""
    + WHO
)

HOGS = (
    FEW
    + """
@server.on("worker_start")
def start(server, worker_id):
    server.hogged = [open(os.devnull) for _ in range({count})]
"""
)


@pytest.mark.parametrize(
    ("program", "fit"), [(FEW, 50), (HOGS.format(count=150), 50)], ids=["limit", "hogged"]
)
def test_a_thousand_clients_with_256_descriptors(small, program, fit):
    """Those that are served are served on; when they go there is room again."""
    server = small(program)
    with contextlib.ExitStack() as stack:
        served = [stack.enter_context(server.connect()) for _ in range(fit)]
        (pid,) = answers(served)
        others = [stack.enter_context(socket.socket()) for _ in range(1000)]
        for sock in others:
            sock.setblocking(False)
            sock.connect_ex(server.address)
        for _ in range(20):
            assert answers(served) == {pid}
            select.select([], [], [], 0.01)
        for sock in others:
            sock.close()
        again = server.connect()
        stack.enter_context(again)

        def serves() -> bool:
            nonlocal again
            with contextlib.suppress(OSError):
                again.sendall(b"who\n")
                if again.recv(100):
                    return True
            again.close()
            again = stack.enter_context(server.connect())
            return False

        server.wait_for(serves)
        assert answers(served) == {pid}
    assert "Traceback" not in server.end()


def test_the_backlog_is_as_long_as_it_was_set(small):
    """Clients whose worker does not come to accept them: the kernel keeps that many."""
    server = small(WHO, "backlog=400")
    (worker,) = server.children()
    with contextlib.ExitStack() as stack:
        stack.enter_context(server.connect()).sendall(b"who\n")
        os.kill(worker, signal.SIGSTOP)
        stack.callback(os.kill, worker, signal.SIGCONT)
        socks = [stack.enter_context(server.connect()) for _ in range(400)]
        assert len(socks) == 400


HOSTILE = """
@server.on("receive")
def receive(server, fd, reactor_id, data):
    if data.endswith(b"good morning"):
        server.protect(fd)  # the test lets it wait while it makes the others
    server.send(fd, data if len(data) < 1000 else data * 64)
"""
LIMITS = (
    "open_length_check=True, package_max_length=65536, package_timeout=1, "
    "socket_buffer_size=262144, heartbeat_idle_time=2, backlog=2048, max_connection=5000, max_wait_time=5"
)


def packet(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def slow_reader(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.sendall(packet(b"x" * 2_000))  # 128 KB come back, and wait in the server


def slow_sender(sock: socket.socket) -> None:
    sock.sendall(b"\0")


def oversized(sock: socket.socket) -> None:
    sock.sendall(struct.pack(">I", 1 << 31))


def half_open(sock: socket.socket) -> None:
    """Say nothing, as one whose machine is gone."""


def reset_in_mid_frame(sock: socket.socket) -> None:
    sock.sendall(packet(b"y" * 1000)[:500])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def connect_and_go(sock: socket.socket) -> None:
    sock.close()


HOSTILES = [
    slow_reader, slow_sender, oversized, half_open, reset_in_mid_frame, connect_and_go,
]  # fmt: skip


def ninety_ninth(good: list[socket.socket], seconds: float) -> float:
    """Let the good ones ask again and again, each ten times at least; return their 99th percentile."""
    waiting = selectors.DefaultSelector()
    times = []
    answered = Counter()
    asked = {}
    question = packet(b"good morning")
    for sock in good:
        waiting.register(sock, selectors.EVENT_READ)
        sock.sendall(question)
        asked[sock] = time.monotonic()
    until = time.monotonic() + seconds
    end = until + LOOK
    while time.monotonic() < until or min(answered[sock] for sock in good) < 10:
        assert time.monotonic() < end, "some good clients are not answered"
        for key, _ in waiting.select(1):
            sock = key.fileobj
            assert sock.recv(100) == question
            times.append(time.monotonic() - asked[sock])
            answered[sock] += 1
            sock.sendall(question)
            asked[sock] = time.monotonic()
    for sock in good:
        assert sock.recv(100) == question
    waiting.close()
    times.sort()
    return times[len(times) * 99 // 100]


@pytest.mark.parametrize("hostile", HOSTILES, ids=lambda each: each.__name__)
def test_hostile_clients_harm_nobody_else(small, hostile):
    """S9: a thousand of a kind, and the others notice nothing."""
    server = small(HOSTILE, LIMITS)
    (worker,) = server.children()

    def descriptors() -> list[int]:
        pids = (server.process.pid, worker)
        return [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids]

    with contextlib.ExitStack() as stack:
        manager, own = descriptors()
        idle = [manager, own + 1]  # libuv opens one for itself at the first connection
        good = [stack.enter_context(server.connect()) for _ in range(50)]
        alone = ninety_ninth(good, 1)
        with_good = descriptors()
        before = memory(worker)
        bad = [stack.enter_context(server.connect()) for _ in range(1000)]
        for sock in bad:
            with contextlib.suppress(OSError):  # it was closed while we spoke
                hostile(sock)
        beside = ninety_ninth(good, 2)
        grown = memory(worker) - before
        print(
            f"{hostile.__name__}: 99th percentile {alone * 1e3:.1f} ms alone, "
            f"{beside * 1e3:.1f} ms beside 1,000; {grown / 2**20:.1f} MiB more"
        )
        if SOAK:  # on a machine that is idle: a limit of time
            assert beside < 2 * alone + 0.02, "at most doubled, and a pause of the machine"
        assert grown < 1000 * (262_144 + 2 * 65_536)
        end = time.monotonic() + LOOK
        while descriptors() != with_good:  # each is closed, while it keeps its own end open
            assert time.monotonic() < end, f"{descriptors()} descriptors, {with_good} before"
            ninety_ninth(good, 0.2)
    server.wait_for(lambda: descriptors() == idle)
    assert server.children() == {worker}
    assert "Traceback" not in server.end()

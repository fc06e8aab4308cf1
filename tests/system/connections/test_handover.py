"""Connections that outlive their worker: at a reload, a retirement and a kill, and those that end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import time

import pytest
from serving import LOOK, RUN
from watching import all_are_copied

LINES = 'open_eof_split=True, package_eof="\\n", package_max_length=1 << 20, '

TALK = """
import json

log = []

def note(*what):
    log.append([os.getpid(), *what])

@server.on("connect")
def connect(server, fd, reactor_id):
    note("connect", fd)

@server.on("connection_taken")
def taken(server, fd, reactor_id):
    note("taken", fd, reactor_id)

@server.on("close")
def close(server, fd, reactor_id):
    note("close", fd, reactor_id)

@server.on("receive")
async def receive(server, fd, reactor_id, data):
    word, *rest = data.decode().split()
    if word == "pid":
        answer = os.getpid()
    elif word == "log":
        answer = log
    elif word == "info":
        answer = server.get_client_info(fd)
    elif word == "bind":
        answer = server.bind(fd, int(rest[0]))
    elif word == "fd":
        answer = fd
    elif word == "pause":
        answer = server.pause(int(rest[0]))
    elif word == "resume":
        answer = server.resume(int(rest[0]))
    elif word == "hang":
        note("hang")
        await asyncio.get_running_loop().create_future()
    elif word == "large":
        server.send(fd, b"x" * int(rest[0]))
        return
    elif word == "end":
        server.close(fd)
        return
    elif word == "reload":
        answer = server.reload()
    elif word == "stats":
        answer = server.stats()
    else:
        answer = data.decode()
    server.send(fd, json.dumps(answer).encode() + b"\\n")
"""


class Line:
    """A client that asks a line and hears one."""

    def __init__(self, server, sock: socket.socket | None = None) -> None:
        self.sock = sock or server.connect()
        self._file = self.sock.makefile("rb")

    def say(self, text: str) -> None:
        self.sock.sendall(text.encode() + b"\n")

    def hear(self):
        line = self._file.readline()
        if not line:
            raise ConnectionError("the end")
        return json.loads(line)

    def ask(self, text: str):
        self.say(text)
        return self.hear()

    def close(self) -> None:
        self._file.close()
        self.sock.close()


def until(condition, what: str):
    end = time.monotonic() + LOOK
    while not (value := condition()):
        assert time.monotonic() < end, what
        select.select([], [], [], 0.005)
    return value


def kill(server, pid: int) -> None:
    """kill -9 between two callbacks.

    An answer comes before its callback returns, so another client asks once more first; and
    until the process is dead it may still read a request.
    """
    last = Line(server)
    assert last.ask("pid") == pid
    last.close()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{pid}"), "it is reaped")


def successor(line: Line, before: int) -> int:
    """Return the worker's new pid, once another one answers."""
    return until(lambda: (pid := line.ask("pid")) != before and pid, "another process answers")


@pytest.fixture
def lines(small):
    """A server that talks, and clients of it."""
    with contextlib.ExitStack() as stack:

        def begin(settings: str = "", clients: int = 1, host: str = "127.0.0.1"):
            server = small(TALK, LINES + settings, host)
            made = [Line(server) for _ in range(clients)]
            for one in made:
                stack.callback(one.close)
            return server, made

        yield begin


def kept(server) -> None:
    """Wait until the manager has a copy of every connection."""
    until(lambda: all_are_copied(server.process.pid, server.address[1]), "all are copied")


def test_a_reload_keeps_connections_with_all_that_belongs_to_them(lines):
    """S12: a reload, with half a packet read."""
    server, clients = lines(clients=20)
    pids = {one.ask("pid") for one in clients}
    fds = [one.ask("fd") for one in clients]
    assert clients[3].ask("bind 77") is True
    before = clients[3].ask("info")
    for one in clients:
        one.sock.sendall(b"the first half, ")
    (pid,) = pids
    server.process.send_signal(signal.SIGUSR1)
    other = Line(server)
    new = successor(other, pid)
    for one in clients:
        assert one.ask("and the second") == "the first half, and the second\n"
        assert successor(one, pid) == new
    assert [one.ask("fd") for one in clients] == fds
    after = clients[3].ask("info")
    assert after.pop("inherited") is True and before.pop("inherited") is False
    assert {k: v for k, v in after.items() if k != "last_time"} == {
        k: v for k, v in before.items() if k != "last_time"
    }
    events = [entry[1:] for entry in other.ask("log")]
    taken = sorted(e for e in events if e[0] == "taken" and e[1] != other.ask("fd"))
    assert taken == [["taken", fd, 0] for fd in sorted(fds)]
    assert not [e for e in events if e[0] == "close"]
    assert {tuple(e) for e in events if e[0] == "connect"} <= {("connect", other.ask("fd"))}
    stats = other.ask("stats")
    assert stats["connection_num"] == 21
    other.close()


def test_idle_connections_go_on_after_a_kill_and_busy_ones_end(lines):
    """S13: each connection by what was under way."""
    server, clients = lines(clients=12)
    idle, (busy, half, behind) = clients[:9], clients[9:]
    (pid,) = {one.ask("pid") for one in clients}
    fds = [one.ask("fd") for one in clients]
    kept(server)
    busy.say("hang")
    half.sock.sendall(b"half a line")
    behind.say("large 50000000")  # nobody reads it
    until(lambda: ["hang"] in [e[1:] for e in idle[0].ask("log")], "it hangs")
    until(lambda: select.select([behind.sock], [], [], 0)[0], "it writes")
    kill(server, pid)
    new = idle[0].ask("pid")
    assert new != pid
    for one in idle:
        assert one.ask("still here") == "still here\n"
        assert one.ask("pid") == new
    assert busy.sock.recv(10) == b""
    assert half.sock.recv(10) == b""
    while behind.sock.recv(1 << 20):
        pass
    events = [entry[1:] for entry in idle[0].ask("log")]
    assert [["close", fd, -1] for fd in fds[9:]] == sorted(
        e for e in events if e[0] == "close" and e[1] in fds
    )
    assert sorted(e for e in events if e[0] == "taken") == [["taken", fd, 0] for fd in fds[:9]]
    assert idle[0].ask("stats")["connection_num"] == 9


def test_again_and_again(lines):
    server, clients = lines(clients=5)
    pid = clients[0].ask("pid")
    for number in range(8):
        kept(server)
        if number % 2:
            kill(server, pid)
        else:
            server.process.send_signal(signal.SIGUSR1)
        pid = successor(clients[0], pid)
        for one in clients:
            assert one.ask(f"n{number}") == f"n{number}\n"
        until(lambda: clients[0].ask("stats")["worker_num"] == 1, "it serves")


def test_retirement_keeps_connections(lines):
    """S12: `max_request` too."""
    _, clients = lines("max_request=20, max_request_grace=0, ", clients=3)
    pids: set[int] = set()

    def ask() -> bool:
        pids.update(one.ask("pid") for one in clients)
        return len(pids) > 4

    until(ask, "five processes have answered")


def test_pause_stays(lines):
    """S12: a paused client stays paused."""
    server, (asking, paused) = lines(clients=2)
    pid, fd = asking.ask("pid"), paused.ask("fd")
    assert asking.ask(f"pause {fd}") is True
    server.process.send_signal(signal.SIGUSR1)
    successor(asking, pid)
    paused.say("hello")
    assert asking.ask("x") == "x\n"
    assert not select.select([paused.sock], [], [], 0.1)[0]
    assert asking.ask(f"resume {fd}") is True
    assert paused.hear() == "hello\n"


def test_without_keep_connections_they_end(lines):
    server, (one, other) = lines("keep_connections=False, ", clients=2)
    pid = one.ask("pid")
    server.process.send_signal(signal.SIGUSR1)
    assert one.sock.recv(10) == b""
    again = Line(server)
    assert again.ask("pid") != pid
    assert other.sock.recv(10) == b""
    again.close()


def test_an_end_is_told_while_the_manager_has_a_copy(lines):
    """With a copy elsewhere a bare close tells the client nothing."""
    server, (one, other) = lines(clients=2)
    kept(server)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        one.say("end")
        assert one.sock.recv(10) == b""
        other.sock.shutdown(socket.SHUT_WR)
        assert other.sock.recv(10) == b""
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


def test_the_manager_keeps_no_descriptor_of_what_ended(lines):
    server, (asking,) = lines()

    def open_ones() -> int:
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    kept(server)
    before = open_ones()
    some = [Line(server) for _ in range(100)]
    for one in some:
        one.ask("x")
    until(lambda: open_ones() == before + 100, "it has copies")
    child = asking.ask("pid")
    server.process.send_signal(signal.SIGUSR1)
    new = successor(asking, child)
    assert len(os.listdir(f"/proc/{new}/fd")) < before + 150, "copies are not inherited"
    for one in some[:50]:
        one.close()
    for one in some[50:]:
        one.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
    until(lambda: open_ones() == before, "they are gone")


def test_unix_streams_are_handed_over_in_order_and_end_with_a_killed_worker(tmp_path, small):
    path = str(tmp_path / "sock")
    server = small(TALK + f"\nserver.listen({path!r}, 0, ipckit.SockType.UNIX_STREAM)\n", LINES)

    def connect() -> Line:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(LOOK)
        sock.connect(path)
        return Line(server, sock)

    line, other = connect(), Line(server)
    pid = line.ask("pid")
    server.process.send_signal(signal.SIGUSR1)
    new = successor(line, pid)
    kill(server, new)
    with pytest.raises((ConnectionError, BrokenPipeError)):
        until(lambda: line.ask("pid") != new, "it ends")
    assert other.ask("x") == "x\n"
    line.close()
    other.close()


STREAM = """
import select, signal

@server.on("receive")
def receive(server, fd, reactor_id, data):
    pass

def stream(server):
    while not server.connections:
        select.select([], [], [], 0.001)
    (fd,) = server.connections
    for number in range({count}):
        assert server.send(fd, b"%d\\n" % number)
        if number % 100 == 0:
            select.select([], [], [], 0.001)
    server.send(fd, b"end\\n")
    signal.pause()

server.add_process(stream)
"""


def test_what_another_process_sends_comes_in_its_order_through_reloads(small):
    """S8: in order through forty reloads.

    S8 excepts a process that does not read for `max_wait_time`. Beside load a process may get no
    CPU for seconds, so that limit is above the whole test's deadline here.
    """
    count = 40_000
    server = small(STREAM.format(count=count), LINES + f"max_wait_time={RUN}, ")
    line = Line(server)
    reloads = 0
    for number in range(count):
        came = line._file.readline()
        if came != b"%d\n" % number:
            following = [came, *(line._file.readline() for _ in range(10))]
            pytest.fail(
                f"{number} is due; {following} came, after {reloads} reloads: {server.end()}"
            )
        if number % 1000 == 500:  # so often that one comes while another is under way
            server.process.send_signal(signal.SIGUSR1)
            reloads += 1
    assert line._file.readline() == b"end\n"
    assert reloads == 40
    line.close()

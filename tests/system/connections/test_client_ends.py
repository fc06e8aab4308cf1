"""Clients that leave at any moment: what the program learns, and nothing leaks.

A client that leaves while a callback of its own is under way: `close` runs once, after all that it
had sent, and send() says False as soon as the connection is lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import struct

import pytest
from ends import GATED, LINES, acknowledged, ask, reset
from serving import LOOK, wait_for

LEAVES = {
    "close": lambda sock: sock.close(),
    "half a close, then close": lambda sock: (sock.shutdown(socket.SHUT_WR), sock.close()),
    "reset": reset,
}


@pytest.mark.parametrize("how", LEAVES)
def test_a_client_that_leaves_during_an_async_receive_is_closed_once(small, how):
    """S4, S7, F17: and send() is False from then on, without a traceback."""
    server = small(
        GATED
        + """
async def work(server, fd, rest):
    await until_gone(server, fd)
    print("exists", server.exists(fd), "sendfile", server.sendfile(fd, sys.executable),
          "pause", server.pause(fd))
""",
        LINES,
    )
    with server.connect() as other:
        sock = server.connect()
        sock.sendall(b"work\nwork\n")
        wait_for(lambda: ask(other, "len(server.connections)") == 2)
        mine = ask(other, "min(set(server.connections) - {fd})")
        LEAVES[how](sock)
        other.sendall(b"go\n")
        wait_for(lambda: ask(other, "closed"))
        assert ask(other, "closed") == [mine]
        assert ask(other, "len(server.connections)") == 1
        assert ask(other, "server.stats()['close_count']") == 1
    log = server.end()
    assert log.count("exists True sendfile False pause False") == 2, "both packets were handed out"
    assert "Traceback" not in log


def test_a_close_of_the_server_s_own_after_half_a_close_is_one(small):
    """S4, F17: whoever ends it first."""
    server = small(
        GATED
        + """
async def work(server, fd, rest):
    print("closed by us", server.close(fd), server.close(fd))
""",
        LINES,
    )
    with server.connect() as other, server.connect() as sock:
        sock.sendall(b"work\nwork\n")
        sock.shutdown(socket.SHUT_WR)
        for _ in range(3):  # its loop has turned: it has read the end of file
            assert len(ask(other, "server.connections")) == 2
        other.sendall(b"go\n")
        assert sock.recv(10) == b""
        wait_for(lambda: ask(other, "closed"))
        assert len(ask(other, "closed")) == 1
    log = server.end()
    assert "closed by us True False" in log and "Traceback" not in log


def test_a_client_that_ended_its_half_reads_the_answers_of_its_callbacks(small):
    """S31: of those that wait for a task as well; what a timer sends later is refused."""
    server = small(
        GATED
        + """
async def work(server, fd, rest):
    server.after(0.001, later, server, fd)
    server.send(fd, await server.task_async(b"answer"))

async def later(server, fd):
    while fd not in closed:
        await asyncio.sleep(0.001)
    print("later", server.send(fd, b"later"), flush=True)

@server.on("task")
def task(server, task_id, worker_id, data):
    return data
""",
        LINES + ", task_worker_num=1",
    )
    with server.connect() as other, server.connect() as sock:
        sock.sendall(b"work\nwork\n")
        sock.shutdown(socket.SHUT_WR)
        other.sendall(b"go\n")
        with sock.makefile("rb") as stream:
            assert stream.read() == b"answer" * 2
    assert [server.line() for _ in range(2)] == [b"later False\n"] * 2
    server.end()


def test_a_task_s_sends_to_a_client_that_left_leave_no_traceback(small, tmp_path):
    """F17: the client leaves while its own receive waits for the task."""
    flag = tmp_path / "left"
    server = small(
        GATED
        + f"""
async def work(server, fd, rest):
    await server.task_async(fd)
    print("told", server.send(fd, b"done\\n"))

@server.on("task")
def task(server, task_id, worker_id, fd):
    while not os.path.exists({str(flag)!r}):
        select.select([], [], [], 0.001)
    for _ in range(100):
        server.send(fd, b"progress\\n")
        select.select([], [], [], 0.0005)  # the worker takes each by itself
""",
        LINES + ", task_worker_num=1",
    )
    with server.connect() as other:
        sock = server.connect()
        sock.sendall(b"work\n")
        other.sendall(b"go\n")
        wait_for(lambda: ask(other, "server.stats()['tasking_num']"))
        sock.close()
        flag.touch()
        wait_for(lambda: ask(other, "closed"))
        assert len(ask(other, "closed")) == 1
    log = server.end()
    assert "told False" in log
    assert "Traceback" not in log and "RuntimeError" not in log


def test_asend_to_a_client_that_leaves_returns(small):
    """F17: also to one that did not read, when it goes or is closed by another."""
    server = small(
        GATED
        + """
async def work(server, fd, rest):
    while await server.asend(fd, bytes(100_000)):
        pass
    print("returned")
""",
        LINES,
    )
    with server.connect() as other:
        for number, leave in enumerate(
            (lambda s, fd: s.close(), lambda s, fd: ask(other, f"server.close({fd}, True)"))
        ):
            with server.connect() as sock:
                sock.sendall(b"work\n")
                other.sendall(b"go\n")
                wait_for(
                    lambda: ask(
                        other,
                        "max(c._transport.get_write_buffer_size() for c in server._process.connections.values())",
                    )
                )
                leave(sock, ask(other, "max(server.connections)"))
                wait_for(lambda number=number: len(ask(other, "closed")) == number + 1)
    log = server.end()
    assert log.count("returned") == 2 and "Traceback" not in log


def test_what_was_acknowledged_is_handed_out_though_our_write_failed(small):
    """S6, F11: the kernel has it, the connection is lost because of an answer, nothing is lost."""
    server = small(
        """
        import asyncio
        packets = 0

        @server.on("receive")
        async def receive(server, fd, reactor_id, data):
            global packets
            packets += 1
            server.send(fd, b"answer")
            await asyncio.sleep(0)

        @server.on("close")
        def close(server, fd, reactor_id):
            global packets
            print("packets", packets, flush=True)
            packets = 0
        """,
        "open_length_check=True",
    )
    packet = struct.pack(">I", 1000) + bytes(1000)
    for _ in range(20):
        sock = server.connect()
        for _ in range(1000):
            sock.sendall(packet)
        wait_for(lambda sock=sock: acknowledged(sock))
        reset(sock)
        assert server.line() == b"packets 1000\n"
    server.end()


def test_a_file_is_whole_though_its_client_closed_its_half(small, tmp_path):
    """S8: sendfile(), close(), and the client's end of file before all is sent."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(30_000_000))
    server = small(
        f"""
        @server.on("receive")
        def receive(server, fd, reactor_id, data):
            server.sendfile(fd, {str(path)!r})
            server.close(fd)
        """
    )
    with server.connect() as sock:
        sock.sendall(b"go")
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as stream:
            assert stream.read() == path.read_bytes()
    server.end()


def test_close_sends_all_of_it_to_a_client_that_takes_its_time(small):
    """S8: longer than the second that a client has to say that it has read the end."""
    size = 7_000_000
    server = small(
        f"""
        @server.on("receive")
        def receive(server, fd, reactor_id, data):
            server.send(fd, bytes({size}))
            server.close(fd)
        """
    )
    with server.connect() as sock:
        sock.sendall(b"go")
        assert sock.recv(1) == b"\0"
        select.select([], [], [], 2.5)  # more than the second
        with sock.makefile("rb") as stream:
            assert len(stream.read()) == size - 1
    server.end()


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("who", ["the client", "the server", "its worker's death"])
def test_close_may_ask_who_it_was(small, kind, who):
    """S7, F35: get_client_info() in `close`, with the number of bind(), however it came to it."""
    server = small(
        f"""
        import asyncio

        @server.on("connect")
        def connect(server, fd, reactor_id):
            server.bind(fd, 42)
            server.send(fd, b"%d" % fd)

        @server.on("receive")
        def receive(server, fd, reactor_id, data):
            if data == b"close":
                server.close(fd)
            elif data == b"die":
                os.kill(os.getpid(), 9)

        @server.on("close")
        {kind} close(server, fd, reactor_id):
            {"await asyncio.sleep(0)" if kind != "def" else ""}
            info = server.get_client_info(fd)
            print("left", info["uid"], info["remote_ip"], info["remote_port"], server.exists(fd),
                  server.send(fd, b"x"), flush=True)
            asyncio.get_running_loop().call_soon(
                lambda: print("after", server.get_client_info(fd), flush=True))
        """
    )
    sock = server.connect()
    assert sock.recv(10)
    port = sock.getsockname()[1]
    with sock:
        if who != "the client":
            sock.sendall(b"close" if who == "the server" else b"die")
            with contextlib.suppress(ConnectionError):
                assert sock.recv(10) == b""
    line = server.line().decode()
    assert line == f"left 42 127.0.0.1 {port} False False\n"
    assert server.line() == b"after None\n"
    server.end()


def test_pause_in_connect_holds_the_client_and_back_pressure_stays(small):
    """S6, S12, F36: no packet before resume(), though it came with the connection; all of it then."""
    server = small(
        PAUSING,
    )
    extra = int(server.line())
    block = os.urandom(1 << 20)
    with socket.create_connection(("127.0.0.1", extra), LOOK) as other:
        for _ in range(20):
            sock = server.connect()
            digest = hashlib.sha256(b"first")
            sock.sendall(b"first")  # it may be there before the worker has heard of the client
            name = sock.recv(20)
            sock.setblocking(False)
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while sent < 1 << 28:
                    count = sock.send(block)
                    digest.update(block[:count])
                    sent += count
            assert sent < 1 << 26, "nothing held it up"
            assert other.send(b"resume " + name) and other.recv(10) == b"done"
            sock.settimeout(LOOK)
            sock.close()
            assert server.line().split() == [
                name,
                b"0",
                digest.hexdigest().encode(),
            ]
    server.end()


PAUSING = """
import hashlib
digests = {}
early = []
resumed = set()

@server.on("connect")
def connect(server, fd, reactor_id):
    digests[fd] = hashlib.sha256()
    server.pause(fd)
    server.send(fd, b"%d" % fd)

@server.on("receive")
async def receive(server, fd, reactor_id, data):
    if fd not in resumed:
        early.append(fd)
    digests[fd].update(data)

@server.on("close")
async def close(server, fd, reactor_id):
    print(fd, len(early), digests[fd].hexdigest(), flush=True)

extra = server.listen("127.0.0.1", 0)

@extra.on("connect")
def other_connect(server, fd, reactor_id):
    pass

@extra.on("close")
def other_close(server, fd, reactor_id):
    pass

@extra.on("receive")
def other_receive(server, fd, reactor_id, data):
    held = int(data.split()[1])
    resumed.add(held)
    server.resume(held)
    server.send(fd, b"done")

@server.on("start")
def start(server):
    print(server.port, flush=True)
    print(extra.port, flush=True)
"""

"""Clients of a real server: framing, order, ends, and one bad client that harms nobody else."""

from __future__ import annotations

import os
import select
import socket
import struct
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import LOOK


def read_to_end(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


ECHO_LENGTHS = """
@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send(fd, len(data).to_bytes(4, "big") + data)
"""

FRAMINGS = {
    "eof": ('open_eof_split=True, package_eof="\\r\\n"', lambda body: body + b"\r\n"),
    "C": (
        'open_length_check=True, package_length_type="C", package_body_offset=1',
        lambda body: struct.pack("B", len(body)) + body,
    ),
    "n": (
        'open_length_check=True, package_length_type="n", package_body_offset=2',
        lambda body: struct.pack(">H", len(body)) + body,
    ),
    "N": ("open_length_check=True", lambda body: struct.pack(">I", len(body)) + body),
    "Q": (
        'open_length_check=True, package_length_type="Q", package_body_offset=8',
        lambda body: struct.pack("=Q", len(body)) + body,
    ),
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_cutting_the_stream_anywhere_gives_the_same_packets(small, framing):
    """S5: packets do not depend on the reads."""
    options, pack = FRAMINGS[framing]
    server = small(ECHO_LENGTHS, options)
    bodies = st.lists(
        st.binary(max_size=200).map(lambda body: body.replace(b"\r", b"r")), min_size=1, max_size=8
    )

    @settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(bodies, st.data())
    def cut(bodies, data):
        packets = [pack(body) for body in bodies]
        stream = b"".join(packets)
        cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=10)))
        with server.connect() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
                sock.sendall(stream[start:end])
            sock.shutdown(socket.SHUT_WR)
            answer = read_to_end(sock)
        assert answer == b"".join(len(one).to_bytes(4, "big") + one for one in packets)

    cut()


def test_eof_check_hands_out_what_has_come(small):
    server = small(ECHO_LENGTHS, 'open_eof_check=True, package_eof="\\n"')
    with server.connect() as sock:
        sock.sendall(b"a\nb\nc\n")
        assert sock.recv(100) == b"\0\0\0\x06a\nb\nc\n"


@pytest.mark.parametrize(
    ("options", "bad"),
    [
        ('open_eof_split=True, package_eof="\\n", package_max_length=100', b"x" * 101),
        ("open_length_check=True, package_max_length=100", struct.pack(">I", 97) + b"x" * 97),
        (
            'open_length_check=True, package_length_type="l", package_max_length=100',
            struct.pack("=i", -1),
        ),
    ],
)
def test_an_oversized_packet_closes_that_one_connection(small, options, bad):
    """S9: too long a packet."""
    server = small(ECHO_LENGTHS, options)
    good = (
        b"fine\n" if "eof" in options else struct.pack("=i" if '"l"' in options else ">i", 1) + b"y"
    )
    with server.connect() as other, server.connect() as sock:
        sock.sendall(good + bad)
        assert read_to_end(sock) == len(good).to_bytes(4, "big") + good, "earlier packets count"
        other.sendall(good)
        assert other.recv(100)[4:] == good
    log = server.end()
    assert ("closed: " in log and "package_max_length" in log) or "length field" in log


def test_callbacks_of_one_connection_never_overlap(small):
    """S4: one after the other, in order."""
    server = small(
        """
        order = []
        @server.on("connect")
        async def connect(server, fd, reactor_id):
            await asyncio.sleep(0.05)
            order.append("connect")
        @server.on("receive")
        async def receive(server, fd, reactor_id, data):
            order.append("in")
            await asyncio.sleep(0.01)
            order.append("out")
            server.send(fd, data)
        @server.on("close")
        async def close(server, fd, reactor_id):
            order.append("close")
            print(",".join(order), reactor_id, flush=True)
        """,
        'open_eof_split=True, package_eof="\\n"',
    )
    with server.connect() as sock:
        sock.sendall(b"a\nb\nc\n")
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock) == b"a\nb\nc\n", "who sends no more still gets its answers"
    assert "connect,in,out,in,out,in,out,close 0" in server.end()


def test_a_slow_callback_stops_the_reading_and_loses_nothing(small):
    """S6: so much waits and no more."""
    server = small(
        """
        seen = 0
        @server.on("receive")
        async def receive(server, fd, reactor_id, data):
            global seen
            seen += 1
            await asyncio.sleep(0)
            if seen == 5000:
                server.send(fd, b"all")
        """,
        'open_eof_split=True, package_eof="\\n"',
    )
    with server.connect() as sock:
        sock.sendall(b"x" * 99 + b"\n" + (b"y" * 99 + b"\n") * 4999)
        assert sock.recv(10) == b"all"


def test_close_sends_everything_first_and_then_end_of_file(small):
    """S8: `close()` after all that was sent."""
    server = small(
        """
        @server.on("receive")
        def receive(server, fd, reactor_id, data):
            server.send(fd, b"z" * 3_000_000)
            print(server.close(fd), server.close(fd), server.send(fd, b"late"), server.exists(fd), flush=True)
        @server.on("close")
        def close(server, fd, reactor_id):
            print("close", reactor_id, flush=True)
        """
    )
    with server.connect() as sock:
        sock.sendall(b"request" * 100_000)  # more than was asked for: unread bytes must not reset
        assert len(read_to_end(sock)) == 3_000_000
    log = server.end()
    assert log.startswith("True False False False\nclose -1\n")


def test_reset_resets(small):
    """S8: `reset=True` drops what was not sent."""
    server = small(
        """
        @server.on("receive")
        def receive(server, fd, reactor_id, data):
            server.close(fd, reset=True)
        """
    )
    with server.connect() as sock:
        sock.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            read_to_end(sock)


def test_a_slow_reader_is_closed_and_others_are_not(small):
    """S9: too slow a reader."""
    server = small(
        """
        @server.on("receive")
        def receive(server, fd, reactor_id, data):
            if data == b"flood":
                for _ in range(200):
                    server.send(fd, b"z" * 100_000)
            else:
                server.send(fd, data)
        """,
        "socket_buffer_size=1_000_000",
    )
    with server.connect() as slow, server.connect() as other:
        slow.sendall(b"flood")
        for _ in range(20):
            other.sendall(b"ping")
            assert other.recv(10) == b"ping"
        assert len(read_to_end(slow)) < 200 * 100_000
    assert "a slow reader" in server.end()


def test_asend_waits_for_a_slow_reader(small):
    """Thirty times what may wait for a client; it is not closed, and others are served."""
    server = small(
        """
        @server.on("receive")
        async def receive(server, fd, reactor_id, data):
            if data == b"flood":
                for number in range(300):
                    assert await server.asend(fd, bytes([number % 256]) * 100_000)
            else:
                server.send(fd, data)
        """,
        "socket_buffer_size=1_000_000",
    )
    expected = b"".join(bytes([number % 256]) * 100_000 for number in range(300))
    with server.connect() as slow, server.connect() as other:
        slow.sendall(b"flood")
        got = bytearray()
        while len(got) < len(expected):
            if len(got) < 2_000_000:  # at first it reads a little at a time
                other.sendall(b"ping")
                assert other.recv(10) == b"ping"
            part = slow.recv(65536 if len(got) < 2_000_000 else 1 << 20)
            assert part, "it was closed"
            got += part
        assert got == expected
    assert "a slow reader" not in server.end()


def test_an_idle_client_is_closed_by_the_heartbeat(small):
    """S9: too long silent."""
    server = small(ECHO_LENGTHS, "heartbeat_idle_time=2, heartbeat_check_interval=0.1")
    with server.connect() as idle, server.connect() as busy:
        began = time.monotonic()
        while not select.select([idle], [], [], 0.05)[0]:
            busy.sendall(b"x")
            assert busy.recv(10) == b"\0\0\0\x01x"
            assert time.monotonic() - began < LOOK
        assert idle.recv(1) == b""
        assert time.monotonic() - began >= 2
        busy.sendall(b"y")
        assert busy.recv(10) == b"\0\0\0\x01y"
    assert "heartbeat_idle_time" in server.end()


def test_too_many_connections_are_refused(small):
    """S9: one too many."""
    server = small(ECHO_LENGTHS, "max_connection=2")
    kept = [server.connect() for _ in range(2)]
    for sock in kept:
        sock.sendall(b"x")
        assert sock.recv(10) == b"\0\0\0\x01x"
    with server.connect() as extra:
        try:
            assert extra.recv(10) == b""
        except ConnectionResetError:
            pass
    kept.pop().close()
    end = time.monotonic() + LOOK
    while True:  # until the end of that one is seen
        with server.connect() as again:
            try:
                again.sendall(b"z")
                if again.recv(10) == b"\0\0\0\x01z":
                    break
            except ConnectionError:
                pass
        assert time.monotonic() < end
    kept.pop().close()
    assert "max_connection=2" in server.end()


def test_send_and_close_from_another_worker(start):
    """S7: from every process."""
    running = start(worker_num=3, task_worker_num=1)
    clients: dict = {}
    end = time.monotonic() + LOOK
    while len(clients) < 2:
        ask = running.client()
        clients.setdefault(ask("about")["worker_id"], ask)
        assert time.monotonic() < end
    one, two = list(clients.values())[:2]
    fd = two("about")["fd"]
    body = os.urandom(100_000)
    packet = len(body).to_bytes(4, "big") + body
    assert one("call", "exists", fd) and one("call", "send", fd, packet)
    assert one("await", "asend", fd, packet)
    assert two._client.recv() == packet and two._client.recv() == packet
    assert one("call", "close", fd)
    assert two._client.recv() == b""
    assert not one("call", "exists", fd) and not one("call", "send", fd, packet)
    assert not one("call", "close", fd)


def test_session_ids_are_never_reused(start):
    """S7: an fd is never used again."""
    running = start(worker_num=2, task_worker_num=0)
    fds = []
    for _ in range(50):
        ask = running.client()
        fds.append(ask("about")["fd"])
        ask.close()
    assert len(set(fds)) == 50 and min(fds) >= 1


def test_unix_stream(start, tmp_path):
    path = str(tmp_path / "socket")
    running = start(host=path, sock_type=5)
    assert running.client()("echo", b"x" * 100_000) == b"x" * 100_000
    assert running.client()("await", "task_async", ("finish", 1), LOOK) == 1
    assert running.end() == 0
    assert not os.path.exists(path)

"""Client against plain sockets, TaskClient against the queue that it fills."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest
from deadlines import LOOK
from timing import soonest

from ipckit import kinds
from ipckit.client import Client, TaskClient
from ipckit.errors import (
    MessageTooLarge,
    MisuseError,
    NotFound,
    PeerGone,
    ProtocolError,
    QueueFull,
    QueueRemoved,
    SettingsError,
    WaitTimeout,
)
from ipckit.kinds import ANY_TASK_WORKER, SockType, TaskIPC


@contextlib.contextmanager
def serve(talk, family=socket.AF_INET, address=("127.0.0.1", 0)):
    """A listener whose first connection is given to `talk` in a thread; yields its address."""
    errors = []

    def run():
        try:
            conn, _ = listener.accept()
            with conn:
                conn.settimeout(LOOK)
                talk(conn)
        except BaseException as exc:
            errors.append(exc)

    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.settimeout(LOOK)
        listener.bind(address)
        listener.listen()
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            thread.join(LOOK)
    assert not thread.is_alive()
    assert errors == []


def echo(conn):
    while data := conn.recv(65536):
        conn.sendall(data)


def say(*parts):
    """Send the parts, then wait until the client closes."""

    def talk(conn):
        for part in parts:
            conn.sendall(part)
        conn.shutdown(socket.SHUT_WR)
        conn.recv(1)

    return talk


@pytest.mark.parametrize("kind", [SockType.TCP, SockType.TCP6, SockType.UNIX_STREAM])
def test_stream_there_and_back(kind, tmp_path):
    """What was sent to an echo server comes back, over every kind of stream."""
    family, address = {
        SockType.TCP: (socket.AF_INET, ("127.0.0.1", 0)),
        SockType.TCP6: (socket.AF_INET6, ("::1", 0)),
        SockType.UNIX_STREAM: (socket.AF_UNIX, str(tmp_path / "s")),
    }[kind]
    try:
        socket.socket(family, socket.SOCK_STREAM).close()
    except OSError:
        pytest.skip(f"{kind.name}: not in this kernel")
    with serve(echo, family, address) as where, Client(kind) as client:
        args = (where,) if kind == SockType.UNIX_STREAM else where[:2]
        client.connect(*args, timeout=LOOK)
        assert client.send(b"hello") == 5
        got = b""
        while len(got) < 5:
            got += client.recv()
        assert got == b"hello"


def test_send_sends_everything():
    """send() returns when all is with the kernel, however large; then the peer has it all."""
    body = os.urandom(1024) * 4096
    got = []

    def talk(conn):
        left = len(body)
        while left:
            got.append(conn.recv(min(left, 1 << 20)))
            left -= len(got[-1])

    with serve(talk) as where, Client() as client:
        client.connect(*where, timeout=LOOK)
        assert client.send(memoryview(body)) == len(body)
        assert client.send(b"") == 0
        assert client.recv() == b""
    assert b"".join(got) == body


def test_recv_takes_at_most_size():
    """Without framing recv() returns 1..size bytes, and b"" at the end, again and again."""
    with serve(say(b"abcdef")) as where, Client() as client:
        client.connect(*where, timeout=LOOK)
        got = [client.recv(2) for _ in range(3)]
        assert b"".join(got) == b"abcdef"
        assert (client.recv(), client.recv()) == (b"", b"")
        with pytest.raises(ValueError, match="size=0"):
            client.recv(0)


@pytest.mark.parametrize(
    ("settings", "packets"),
    [
        ({"open_eof_split": True}, [b"a\r\n\r\n", b"\r\n\r\n", b"b" * 70000 + b"\r\n\r\n"]),
        ({"open_length_check": True}, [struct.pack(">I", n) + b"x" * n for n in (0, 3, 70000)]),
    ],
)
def test_recv_with_framing_returns_one_packet(settings, packets):
    """With framing each recv() returns one whole packet, mark or header included."""
    with serve(say(b"".join(packets))) as where, Client(**settings) as client:
        client.connect(*where, timeout=LOOK)
        assert [client.recv(10) for _ in packets] == packets
        assert client.recv() == b""


def test_recv_tells_of_a_cut_packet():
    """An end in the middle of a packet is PeerGone once, then b""."""
    with (
        serve(say(b"whole\nhal")) as where,
        Client(open_eof_split=True, package_eof="\n") as client,
    ):
        client.connect(*where, timeout=LOOK)
        assert client.recv() == b"whole\n"
        with pytest.raises(PeerGone, match="closed 3 bytes into a packet"):
            client.recv()
        assert client.recv() == b""


def test_recv_refuses_what_is_too_long_after_the_rest():
    """Packets before one over package_max_length are returned, then ProtocolError for good."""
    client = Client(open_eof_split=True, package_eof=b"\n", package_max_length=5)
    with serve(say(b"a\nb\ntoo long\nc\n")) as where, client:
        client.connect(*where, timeout=LOOK)
        assert [client.recv(), client.recv()] == [b"a\n", b"b\n"]
        for _ in range(2):
            with pytest.raises(ProtocolError, match="package_max_length is 5"):
                client.recv()


def test_time_limits():
    """connect's timeout bounds recv and send; the setting `timeout` takes its place."""
    done = threading.Event()

    with serve(lambda _: done.wait(LOOK)) as where, Client(open_length_check=True) as client:
        client.connect(*where, timeout=0.05)

        def recv(text):
            with pytest.raises(WaitTimeout, match=text):
                client.recv()

        def send():
            with pytest.raises(WaitTimeout, match=r"send: \d+ of 67108864 bytes .* 0\.05 s"):
                client.send(bytes(64 << 20))

        assert 0.05 <= soonest(lambda: recv(r"recv: nothing came .* in 0\.05 s")) < 1
        assert 0.05 <= soonest(send) < 5  # some of the bytes are copied
        client.set(timeout=0)
        assert soonest(lambda: recv("in 0 s")) < 0.05
        client.set({"timeout": 0.02})
        assert 0.02 <= soonest(lambda: recv(r"in 0\.02 s")) < 1
        done.set()


def test_nobody_there(tmp_path):
    """A port nobody listens on is PeerGone; no such name or path is NotFound; then it may try again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        client = Client()
        for _ in range(2):
            with pytest.raises(PeerGone, match=r"nobody listens at 127\.0\.0\.1"):
                client.connect(*free.getsockname(), timeout=LOOK)
    with pytest.raises(NotFound):
        Client(SockType.UNIX_STREAM).connect(str(tmp_path / "none"))
    with pytest.raises(NotFound, match="getaddrinfo"):
        client.connect("::1", 80)
    with pytest.raises(ValueError, match="port=0"):
        client.connect("127.0.0.1", 0)


def test_a_full_backlog_is_waited_for(tmp_path):
    """A unix socket whose backlog is full: WaitTimeout after the time, not before."""
    path = str(tmp_path / "s")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        stack.enter_context(Client(SockType.UNIX_STREAM)).connect(path, timeout=LOOK)
        start = monotonic()
        with pytest.raises(WaitTimeout, match="did not answer"):
            Client(SockType.UNIX_STREAM).connect(path, timeout=0.05)
        assert monotonic() - start >= 0.05


def test_the_peer_breaks_off():
    """A connection reset by the peer is PeerGone on reading and writing."""

    def reset(conn):
        conn.recv(1)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with serve(reset) as where, Client() as client:
        client.connect(*where, timeout=LOOK)
        client.send(b"x")
        with pytest.raises(PeerGone):
            client.recv()
        with pytest.raises(PeerGone):
            client.send(b"x")


@pytest.mark.parametrize("kind", [SockType.UDP, SockType.UNIX_DGRAM])
def test_datagrams(kind, tmp_path):
    """A datagram goes and comes back as one; a longer one than asked for stays."""
    family, address = {
        SockType.UDP: (socket.AF_INET, ("127.0.0.1", 0)),
        SockType.UNIX_DGRAM: (socket.AF_UNIX, str(tmp_path / "d")),
    }[kind]
    with socket.socket(family, socket.SOCK_DGRAM) as server, Client(kind) as client:
        server.settimeout(LOOK)
        server.bind(address)
        where = server.getsockname()
        client.connect(*((where,) if isinstance(where, str) else where), timeout=LOOK)
        for body in (b"hello", b""):
            assert client.send(body) == len(body)
            data, sender = server.recvfrom(100)
            assert data == body
        server.sendto(b"answer", sender)
        with pytest.raises(MessageTooLarge, match="6 bytes waits, size is 5"):
            client.recv(5)
        assert client.recv(6) == b"answer"
        with pytest.raises(MessageTooLarge):
            client.send(bytes(1 << 20))


def test_misuse():
    """Use before connect, and a second connect, are MisuseError; closing twice is nothing."""
    client = Client()
    for use in (client.recv, lambda: client.send(b"x")):
        with pytest.raises(MisuseError, match=r"connect\(host, port\) first"):
            use()
    with serve(echo) as where, client:
        client.connect(*where, timeout=LOOK)
        with pytest.raises(MisuseError, match="already"):
            client.connect(*where)
        with pytest.raises(TypeError):
            client.send("text")
    client.close()
    with serve(echo) as where, client:
        client.connect(*where, timeout=LOOK)


def test_settings():
    """Unknown and wrong settings, and framing of datagrams, are SettingsError and change nothing."""
    with pytest.raises(SettingsError, match="sock_type=9: must be one of TCP, UDP"):
        Client(9)
    with pytest.raises(SettingsError, match="did you mean 'open_length_check'"):
        Client(open_lenght_check=True)
    with pytest.raises(SettingsError, match="UDP: a datagram is a packet already"):
        Client(SockType.UDP, open_eof_check=True)
    client = Client(open_eof_split=True, package_eof="\n")
    with pytest.raises(SettingsError, match="timeout=-1"):
        client.set(timeout=-1)
    with pytest.raises(SettingsError):
        client.set(open_length_check=True)

    with serve(say(b"a\nb")) as where, client:
        client.connect(*where, timeout=LOOK)
        assert client.recv() == b"a\n"
        with pytest.raises(MisuseError, match="middle of a packet"):
            client.set(package_eof="b")


def test_the_numbers_of_the_kinds():
    """SockType and TaskIPC have the documented values."""
    assert [(k.name, k.value) for k in TaskIPC] == [
        ("UNIX_SOCKET", 1),
        ("QUEUE", 2),
        ("QUEUE_CONTENDED", 3),
    ]
    names = ["TCP", "UDP", "TCP6", "UDP6", "UNIX_STREAM", "UNIX_DGRAM"]
    assert [(k.name, k.value) for k in SockType] == list(zip(names, range(1, 7), strict=True))
    assert kinds.ANY_TASK_WORKER == 2**31 - 1


def test_a_client_loads_no_server_and_no_queue():
    """`import ipckit.client` loads neither ipckit.queue nor ipckit.server nor ipckit.channel."""
    code = (
        "import ipckit.client, sys; "
        "print([m for m in ('queue', 'server', 'channel', '_core') if f'ipckit.{m}' in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=LOOK
    )
    assert out.stdout.strip() == b"[]"


# ---- TaskClient


@pytest.fixture
def queue():
    from ipckit.queue import SysvQueue

    key = 0x1BC00000 | (os.getpid() & 0xFFFFF)
    made = SysvQueue.create(key, max_bytes=4096)
    yield made
    with contextlib.suppress(QueueRemoved):
        made.remove()


def test_a_task_is_php_text_under_its_type(queue):
    """post() sends PHP's serialize text; the type is task worker + 1, or any."""
    with TaskClient(queue.key) as client:
        client.post({"to": "a@b.c", "n": 1}, dst=3)
        client.post("hi")

    assert queue.receive(timeout=LOOK) == (4, b'a:2:{s:2:"to";s:5:"a@b.c";s:1:"n";i:1;}')
    assert queue.receive(timeout=LOOK) == (ANY_TASK_WORKER, b's:2:"hi";')


def test_a_task_that_does_not_go_in(queue):
    """post() raises QueueFull, MessageTooLarge with both numbers, or ValueError; nothing is sent."""
    with TaskClient(queue.key) as client:
        for dst in (-2, ANY_TASK_WORKER - 1):
            with pytest.raises(ValueError, match=f"dst={dst}"):
                client.post("x", dst)
        with pytest.raises(ValueError):
            client.post(object())
        with pytest.raises(MessageTooLarge, match=r"100\d\d\b") as info:
            client.post("x" * 10_000, timeout=0)
        assert any(limit in str(info.value) for limit in ("4096", "8192"))
        client.post("x" * 3000)
        with pytest.raises(QueueFull):
            client.post("x" * 3000, timeout=0.01)
    assert len(queue) == 1


def test_no_such_queue(queue):
    """A key without a queue is NotFound; a new queue under the key is found again."""
    from ipckit.queue import SysvQueue

    with pytest.raises(NotFound):
        TaskClient(queue.key ^ 0x01000000)
    with pytest.raises(ValueError, match="private"):
        TaskClient(0)
    with TaskClient(queue.key) as client:
        queue.remove()
        with pytest.raises(NotFound):
            client.post("x", timeout=0)
        again = SysvQueue.create(queue.key)
        try:
            client.post("x", timeout=0)
            assert len(again) == 1
        finally:
            again.remove()


def test_threads_find_the_new_queue_together(queue):
    """Threads that share a TaskClient while the server restarts all get their tasks in."""
    from ipckit.queue import SysvQueue

    count = 8
    with TaskClient(queue.key) as client, ThreadPoolExecutor(count) as threads:
        queue.remove()
        again = SysvQueue.create(queue.key)
        try:
            together = threading.Barrier(count)

            def post(number):
                together.wait(LOOK)
                client.post(number, timeout=LOOK)

            list(threads.map(post, range(count), timeout=LOOK))
            bodies = {again.receive(timeout=LOOK).body for _ in range(count)}
            assert bodies == {b"i:%d;" % number for number in range(count)}
        finally:
            again.remove()


def test_a_closed_task_client_stays_closed(queue):
    """post() after close() is MisuseError, also when the queue is there."""
    client = TaskClient(queue.key)
    client.close()
    client.close()
    with pytest.raises(MisuseError, match="closed"):
        client.post("x", timeout=0)
    assert len(queue) == 0


def test_a_call_has_a_time_limit_of_its_own():
    """`timeout=` of recv() and send() comes before the setting and the limit of connect()."""
    over = threading.Event()
    with serve(lambda conn: over.wait(LOOK)) as where, Client() as client:
        client.connect(*where, timeout=LOOK)
        with pytest.raises(WaitTimeout, match="in 0 s"):
            client.recv(timeout=0)
        begin = monotonic()
        with pytest.raises(WaitTimeout, match=r"in 0\.05 s"):
            client.recv(timeout=0.05)
        assert monotonic() - begin >= 0.05
        client.set(timeout=0)
        with pytest.raises(WaitTimeout, match="in 0 s"):
            client.recv()
        assert client.send(b"", timeout=0) == 0
        for wrong, error in (("5", TypeError), (-1, ValueError), (float("nan"), ValueError)):
            with pytest.raises(error, match="timeout="):
                client.recv(timeout=wrong)
            with pytest.raises(error, match="timeout="):
                client.send(b"x", timeout=wrong)
        with pytest.raises(WaitTimeout, match=r"of 50000000 bytes.*in 0\.05 s"):
            client.send(bytes(50_000_000), timeout=0.05)
        over.set()


def test_no_time_limit_waits_for_as_long_as_it_takes():
    """None is no limit, also where connect() had one."""

    def late(conn):
        assert conn.recv(1) == b"?"
        asked.wait(LOOK)
        threading.Event().wait(2.1)  # over the limit of connect()
        conn.sendall(b"at last")

    asked = threading.Event()
    with serve(late) as where, Client() as client:
        client.connect(*where, timeout=2)
        client.send(b"?", timeout=None)
        asked.set()
        assert client.recv(timeout=None) == b"at last"


@pytest.mark.parametrize("host", ["/tmp/" + "x" * 103, "a\0b"])
def test_a_path_that_no_unix_socket_can_have(host):
    with pytest.raises(ValueError, match="at most 107 bytes"):
        Client(SockType.UNIX_STREAM).connect(host)


def test_data_that_is_not_contiguous_is_named():
    with serve(lambda conn: None) as where, Client() as client:
        client.connect(*where, timeout=LOOK)
        with pytest.raises(TypeError, match=r"not contiguous.*bytes\(data\)"):
            client.send(memoryview(b"abcdef")[::2])

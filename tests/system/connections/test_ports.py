"""Ports of every kind, and what a server knows of and does to its clients."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import struct
import subprocess

import pytest
from serving import LOOK

TALK = """
import contextlib
import json

@server.on("receive")
def receive(server, fd, reactor_id, data):
    command, _, rest = data.decode().strip().partition(" ")
    answer = eval(rest, {"server": server, "fd": fd, "os": os})
    if command == "tell":
        server.send(fd, (json.dumps(answer) + "\\n").encode())

@server.on("packet")
def packet(server, data, client):
    server.sendto(client["address"], client["port"], json.dumps([data.decode(), client]).encode())
"""
LINES = 'open_eof_split=True, package_eof="\\n"'


def ask(sock, expression):
    sock.sendall(b"tell " + expression.encode() + b"\n")
    return json_line(sock)


def json_line(sock):
    got = b""
    while not got.endswith(b"\n"):
        part = sock.recv(65536)
        assert part, "the server closed the connection"
        got += part
    return json.loads(got)


@pytest.mark.parametrize(
    ("kind", "family", "host"),
    [("UDP", socket.AF_INET, "127.0.0.1"), ("UDP6", socket.AF_INET6, "::1")],
)
def test_udp_answers(small, kind, family, host):
    server = small(TALK, f"sock_type=ipckit.SockType.{kind}", host=host)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(LOOK)
        sock.bind((host, 0))
        for text in ("a", "b" * 9000, "c"):
            sock.sendto(text.encode(), server.address)
            got, client = json.loads(sock.recv(65536))
            assert got == text
            assert client == {
                "address": host,
                "port": sock.getsockname()[1],
                "server_port": server.address[1],
            }


def test_unix_datagrams(small, tmp_path):
    path = str(tmp_path / "server")
    small(TALK, "sock_type=ipckit.SockType.UNIX_DGRAM", host=path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(LOOK)
        sock.bind(str(tmp_path / "client"))
        for size in (1, 100_000):
            sock.sendto(b"x" * size, path)
            got, client = json.loads(sock.recv(1 << 20))
            assert len(got) == size
            assert client["address"] == str(tmp_path / "client")


def test_an_oversized_datagram_harms_nobody(small):
    server = small(TALK, "sock_type=ipckit.SockType.UDP, package_max_length=100")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(LOOK)
        for text in ("a", "b" * 101, "c"):
            sock.sendto(text.encode(), server.address)
        assert [json.loads(sock.recv(65536))[0] for _ in range(2)] == ["a", "c"]
    assert "a datagram of 101 bytes" in server.end()


def test_several_ports_with_their_own_rules(small, tmp_path):
    server = small(
        TALK
        + f"""
lines = server.listen({str(tmp_path / "lines")!r}, sock_type=ipckit.SockType.UNIX_STREAM)
lines.set(open_eof_split=True, package_eof="|")

@lines.on("receive")
def on_lines(server, fd, reactor_id, data):
    server.send(fd, b"<" + data + b">")

plain = server.listen("127.0.0.1", 0)
plain.on("connect", lambda server, fd, reactor_id: server.send(fd, b"hello\\n"))
udp = server.listen("127.0.0.1", 0, ipckit.SockType.UDP)
""",
        LINES,
    )
    with server.connect() as main:
        numbers = ask(main, "[port.port for port in server.ports]")
        assert ask(main, "[port.type for port in server.ports]") == [1, 5, 1, 2]
        assert ask(main, "[port.host for port in server.ports]")[1] == str(tmp_path / "lines")
        assert numbers[0] == server.address[1]
        with socket.socket(socket.AF_UNIX) as own:
            own.settimeout(LOOK)
            own.connect(str(tmp_path / "lines"))
            own.sendall(b"a|b|c")
            got = b""
            while got != b"<a|><b|>":
                got += own.recv(100)
            info = ask(main, "server.get_client_info(server.connections[-1])")
            assert (info["server_port"], info["remote_ip"], info["socket_type"]) == (0, "", 5)
        with socket.create_connection(("127.0.0.1", numbers[2]), LOOK) as other:
            assert other.recv(100) == b"hello\n"
            assert ask(other, "server.get_client_info(fd)['server_port']") == numbers[2]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(LOOK)
            sock.sendto(b"x", ("127.0.0.1", numbers[3]))
            assert json.loads(sock.recv(100))[1]["server_port"] == numbers[3]
    server.end()
    assert not (tmp_path / "lines").exists()


def test_tls(small, certificate):
    server = small(
        f"""
import ssl
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain({str(certificate)!r})
server.set(ssl=context)

@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send(fd, data)
    if data == b"bye":
        server.close(fd)
"""
    )
    context = ssl.create_default_context(cafile=str(certificate))
    with (
        server.connect() as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        body = os.urandom(300_000)
        sock.sendall(body)
        got = b""
        while len(got) < len(body):
            got += sock.recv(65536)
        assert got == body
        sock.sendall(b"bye")
        assert sock.recv(100) == b"bye"
        assert sock.recv(100) == b"", "an orderly end"
    with server.connect() as sock:  # who does not speak TLS harms nobody
        sock.sendall(b"plain text\n")
        sock.recv(1000)


TLS = """
import ssl
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain({certificate!r})
server.set(ssl=context)

@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send(fd, b"%d\\n" % os.getpid())
"""


def secured(server, certificate):
    """A client's TLS connection, and the pid of the worker that answers on it."""
    context = ssl.create_default_context(cafile=str(certificate))
    sock = context.wrap_socket(server.connect(), server_hostname="localhost")
    sock.sendall(b"who")
    return sock, int(sock.recv(100))


def test_tls_at_a_reload_is_served_by_the_old_worker_to_its_end(small, certificate):
    server = small(
        TLS.format(certificate=str(certificate)), "max_wait_time=1000, reload_timeout=1000"
    )
    sock, old = secured(server, certificate)
    with sock:
        server.process.send_signal(signal.SIGUSR1)
        server.wait_for(lambda: len(server.children()) == 2)
        fresh, new = secured(server, certificate)
        while new == old:  # the old one accepts until its successor is ready
            fresh.close()
            fresh, new = secured(server, certificate)
        fresh.close()
        for _ in range(5):
            sock.sendall(b"who")
            assert int(sock.recv(100)) == old
    server.wait_for(lambda: server.children() == {new})
    assert "work under way" not in server.end()


def test_tls_at_a_reload_ends_with_max_wait_time_and_with_its_worker(small, certificate):
    """The peer reads an orderly end from the one, and any end from the killed one."""
    server = small(TLS.format(certificate=str(certificate)), "max_wait_time=0.5")
    sock, old = secured(server, certificate)
    with sock:
        server.process.send_signal(signal.SIGUSR1)
        assert sock.recv(100) == b"", "an orderly end"
    server.wait_for(lambda: old not in server.children())
    sock, new = secured(server, certificate)
    with sock:
        os.kill(new, signal.SIGKILL)
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
            assert sock.recv(100) == b""
    sock, _ = secured(server, certificate)
    sock.close()


def test_openssl_as_a_client(small, certificate):
    server = small(
        TALK,
        f"{LINES}, ssl=(context := __import__('ssl').create_default_context("
        f"__import__('ssl').Purpose.CLIENT_AUTH), context.load_cert_chain({str(certificate)!r}))[0]",
    )
    done = subprocess.run(
        f"openssl s_client -quiet -CAfile {certificate} -verify_return_error "
        f"-connect 127.0.0.1:{server.address[1]}".split(),
        input=b"tell [1, 2]\ndo server.close(fd)\n",
        capture_output=True,
        timeout=LOOK,
        check=False,
    )
    assert done.stdout == b"[1, 2]\n"


def test_what_is_known_of_a_client(small):
    """S7: in every process."""
    server = small(TALK, LINES + ", heartbeat_idle_time=1000")
    with server.connect() as one, server.connect() as two:
        mine = ask(one, "fd")
        info = ask(one, "server.get_client_info(fd)")
        assert info["remote_ip"] == "127.0.0.1"
        assert info["remote_port"] == one.getsockname()[1]
        assert info["server_port"] == server.address[1]
        assert info["worker_id"] == info["reactor_id"] == 0
        assert info["connect_time"] <= info["last_time"]
        assert (info["uid"], info["protected"], info["inherited"]) == (None, False, False)
        other = ask(two, "fd")
        assert ask(one, "server.connections") == [mine, other]
        assert ask(one, f"server.get_client_list({mine}, 5)") == [other]
        assert ask(one, "server.get_client_list(0, 1)") == [mine]
        assert ask(one, f"[server.bind({other}, -7), server.bind({other}, 8)]") == [True, False]
        assert ask(one, f"server.protect({other})") is True
        info = ask(two, "server.get_client_info(fd)")
        assert (info["uid"], info["protected"]) == (-7, True)
        assert ask(one, "[server.bind(99999, 1), server.protect(99999)]") == [False, False]
        assert ask(one, "server.get_client_info(99999)") is None
        assert ask(one, "server.heartbeat()") == []


def test_the_heartbeat_on_demand_spares_the_protected(small):
    server = small(TALK, LINES + ", heartbeat_idle_time=1, heartbeat_check_interval=1000")
    with server.connect() as one, server.connect() as two, server.connect() as three:
        spared, idle = ask(two, "fd"), ask(three, "fd")
        assert ask(two, "server.protect(fd)") is True
        looked: list[int] = []
        while idle not in looked:  # it grows idle within a second
            looked = ask(one, "server.heartbeat(close=False)")
        assert spared not in looked
        assert idle in ask(one, "server.heartbeat()")
        assert three.recv(1) == b"", "closed"
        assert ask(two, "fd") == spared


def test_pause_and_resume(small):
    server = small(TALK + "\nserver.set(worker_num=2)\n", LINES)
    with server.connect() as one, server.connect() as two:
        paused = ask(two, "fd")
        assert ask(one, f"server.pause({paused})") is True
        assert ask(one, f"server.send({paused}, b'3\\n')") is True
        assert json_line(two) == 3  # by the same way, so its worker has heard of the pause
        two.sendall(b"tell 'late'\n")
        two.settimeout(0.3)
        with pytest.raises(TimeoutError):
            two.recv(1)
        two.settimeout(LOOK)
        assert ask(one, f"server.resume({paused})") is True
        assert json_line(two) == "late"
        assert ask(one, "server.pause(99999)") is False


def test_sendfile_in_order(small, tmp_path):
    """S8: files and bytes in the order of the calls."""
    whole = tmp_path / "file"
    whole.write_bytes(os.urandom(5_000_000))
    server = small(TALK + "\nserver.set(worker_num=2)\n", LINES)
    path = str(whole)
    with server.connect() as one, server.connect() as two:
        target = ask(two, "fd")
        sends = (
            f"[server.send({target}, b'first'), server.sendfile({target}, {path!r}), "
            f"server.send({target}, b'between'), server.sendfile({target}, {path!r}, 1000, 10), "
            f"server.send({target}, b'last')]"
        )
        assert ask(one, sends) == [True] * 5
        wanted = whole.read_bytes()
        wanted = b"first" + wanted + b"between" + wanted[1000:1010] + b"last"
        got = b""
        while len(got) < len(wanted):
            got += two.recv(1 << 20)
        assert got == wanted
        assert ask(one, f"server.sendfile(99999, {path!r})") is False
        ask(one, f"server.sendfile({target}, {path!r}) and server.close({target})")
        got = b""
        while part := two.recv(1 << 20):
            got += part
        assert got == whole.read_bytes(), "close comes after the file"


def test_a_packet_that_takes_too_long(small):
    """S9: too slow a sender."""
    server = small(TALK, LINES + ", package_timeout=0.2")
    with server.connect() as slow, server.connect() as good:
        slow.sendall(b"tell")
        assert slow.recv(10) == b""
        assert ask(good, "1") == 1
    assert "package_timeout" in server.end()


@pytest.mark.parametrize(
    ("given", "level", "option", "value"),
    [
        ("tcp_keepalive=True", socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        ("tcp_keepalive=True", socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 110_000),
        ("tcp_keepalive=False", socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0),
        ("open_tcp_nodelay=True", socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        ("open_tcp_nodelay=False", socket.IPPROTO_TCP, socket.TCP_NODELAY, 0),
    ],
)
def test_options_of_the_socket_are_set(small, given, level, option, value):
    server = small(TALK, f"{LINES}, {given}")
    with server.connect() as one:
        asked = f"[c._transport.get_extra_info('socket').getsockopt({level:d}, {option}) for c in "
        assert ask(one, asked + "server._process.connections.values()]") == [value]


def test_who_comes_and_goes_at_once_harms_nobody(small):
    server = small(TALK, LINES)
    gone = struct.pack("ii", 1, 0)
    with server.connect() as good:
        for _ in range(500):
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, gone)
                sock.connect(server.address)
        assert ask(good, "1") == 1
    assert "Traceback" not in server.end()


def test_a_file_that_becomes_shorter_resets_the_connection(small, tmp_path):
    whole = tmp_path / "file"
    whole.write_bytes(bytes(20_000_000))
    server = small(TALK, LINES)
    with server.connect() as one, server.connect() as two:
        target = ask(two, "fd")
        assert ask(one, f"server.sendfile({target}, {str(whole)!r}) and server.close({target})")
        os.truncate(whole, 1_000_000)
        got = 0
        with pytest.raises(ConnectionResetError):
            while part := two.recv(1 << 20):
                got += len(part)
        assert got < 20_000_000
    assert "a file was not sent to its end" in server.end()


def test_many_async_packets_are_bounded_and_none_is_lost(small):
    server = small(
        """
@server.on("packet")
async def packet(server, data, client):
    await asyncio.sleep(0.01)
    server.sendto(client["address"], client["port"], data)
""",
        "sock_type=ipckit.SockType.UDP",
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(LOOK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        for _ in range(4):
            sent = {b"%d" % number for number in range(200)}
            for one in sent:
                sock.sendto(one, server.address)
            assert {sock.recv(100) for _ in sent} == sent

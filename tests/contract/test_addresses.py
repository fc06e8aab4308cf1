"""S1: the call that names an address takes it, or says why it cannot."""

from __future__ import annotations

import errno
import os
import socket
import threading

import pytest
from deadlines import LOOK

from ipckit import AlreadyExists, Server, SettingsError, SockType, SystemCallError

KINDS = [SockType.UNIX_STREAM, SockType.UNIX_DGRAM]


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "socket")


def close_ports(server):
    """As the end of a server does."""
    for port in server.ports:
        port.forget()


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("\0name", "an abstract address is not supported"),
        ("", "an abstract address is not supported"),
        ("/tmp/a\0b", "has no NUL"),
        ("/tmp/" + "x" * 103, "at most 107 bytes, this one has 108"),
        ("/tmp/" + "ü" * 52, "at most 107 bytes, this one has 109"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_path_that_no_unix_socket_can_have(host, text, kind):
    with pytest.raises(SettingsError, match=text):
        Server(host, 0, sock_type=kind)
    server = Server("127.0.0.1", 0)
    with pytest.raises(SettingsError, match=text):
        server.listen(host, 0, kind)
    close_ports(server)


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        (SockType.TCP, "127.0.0.1", "127.0.0.1"),
        (SockType.TCP, "127.0.0.1", "localhost"),
        (SockType.TCP, "127.0.0.1", "0.0.0.0"),
        (SockType.TCP, "0.0.0.0", "127.0.0.1"),
        (SockType.TCP6, "::1", "::1"),
        (SockType.TCP6, "::", "::1"),
        (SockType.UDP, "127.0.0.1", "127.0.0.1"),
    ],
)
def test_an_address_that_the_program_has_is_refused_by_the_call(kind, first, second):
    """F41, S1: by listen(), not by start(); an address of all interfaces has each of them."""
    server = Server(first, 0, sock_type=kind)
    try:
        with pytest.raises(SystemCallError) as refused:
            server.listen(second, server.port, kind)
        assert refused.value.errno == errno.EADDRINUSE
        assert len(server.ports) == 1, "nothing was changed"
        with pytest.raises(SystemCallError):
            Server(second, server.port, sock_type=kind)
    finally:
        close_ports(server)
    again = Server(second, server.ports[0].port, sock_type=kind)
    close_ports(again)


@pytest.mark.parametrize("kind", KINDS)
def test_a_unix_path_that_the_program_has_is_refused_by_the_call(kind, path):
    """F41: also before anything listens there."""
    server = Server(path, 0, sock_type=kind)
    try:
        with pytest.raises(AlreadyExists):
            server.listen(path, 0, kind)
    finally:
        close_ports(server)
    assert not os.path.exists(path)


def test_a_full_backlog_is_a_live_server_and_nobody_waits_for_it(path):
    """F43, S1: the call is refused at once."""
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(path)
        live.listen(0)
        with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
            for client in (one, two):
                client.setblocking(False)
                client.connect_ex(path)
            refused: list[BaseException] = []

            def bind():
                try:
                    Server(path, 0, sock_type=SockType.UNIX_STREAM)
                except AlreadyExists as why:
                    refused.append(why)

            thread = threading.Thread(target=bind, daemon=True)
            thread.start()
            thread.join(LOOK)
            assert not thread.is_alive(), "it waits for room in the backlog"
            assert "a live server" in str(refused[0])

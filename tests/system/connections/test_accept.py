"""Clients that wait until a worker can take them: they are served, or leave before that."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import struct

import pytest
from serving import Small

ECHO = """
@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send(fd, data)
"""


def test_a_client_that_cannot_be_taken_waits_and_the_log_says_why(tmp_path):
    """P7: libuv closed those that waited, and no line of the log told of it."""
    log = tmp_path / "log"
    server = Small(ECHO, f"log_file={str(log)!r}, runtime_dir={str(tmp_path / 'run')!r}")
    try:
        (worker,) = server.children()
        before = server.connect()
        before.sendall(b"before")
        assert before.recv(100) == b"before"
        soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (0, hard))
        waiting = [server.connect() for _ in range(5)]
        for sock in waiting:
            sock.sendall(b"waits")
        server.wait_for(lambda: "accept failed: [Errno 24] Too many open files" in log.read_text())
        before.sendall(b"meanwhile")
        assert before.recv(100) == b"meanwhile"
        assert select.select(waiting, [], [], 0)[0] == []
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))
        for sock in waiting:
            assert sock.recv(100) == b"waits"
        for sock in (before, *waiting):
            sock.close()
    finally:
        server.end()
    assert log.read_text().count("accept failed") <= 12


TELLS_WHO = """
@server.on("connect")
def connect(server, fd, reactor_id):
    info = server.get_client_info(fd)
    print(info["remote_ip"], info["remote_port"], flush=True)
"""


@pytest.mark.parametrize(
    ("host", "settings"),
    [("127.0.0.1", ""), ("::1", "sock_type=ipckit.SockType.TCP6")],
    ids=["TCP", "TCP6"],
)
def test_the_address_of_a_client_that_has_gone_already_is_known(host, settings):
    """It was asked of its socket, which no longer has one."""
    server = Small(ECHO + TELLS_WHO, settings, host)
    try:
        (worker,) = server.children()
        os.kill(worker, signal.SIGSTOP)
        client = server.connect()
        name = client.getsockname()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        os.kill(worker, signal.SIGCONT)
        assert server.line() == f"{name[0]} {name[1]}\n".encode()
    finally:
        server.end()

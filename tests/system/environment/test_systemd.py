"""Socket activation and readiness: the environment that systemd gives, with real sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest
from serving import LOOK

SERVER = """
import os, sys, ipckit
if "HANDED_OVER" in os.environ:  # what systemd does after its fork
    os.dup2(int(os.environ["HANDED_OVER"]), 3)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
kind, host, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
server = ipckit.Server(host, port, sock_type=kind, worker_num=1)
server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))
server.start()
"""


def started(kind, host, port, environment, fds=()):
    return subprocess.Popen(
        [sys.executable, "-c", SERVER, str(kind), host, str(port)],
        env={**os.environ, **environment},
        pass_fds=fds,
        stderr=subprocess.PIPE,
    )


def ended(process):
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=LOOK)
    assert process.returncode == 0, log.decode()


def test_it_tells_when_it_is_ready_reloads_and_stops(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(LOOK)
        process = started(1, "127.0.0.1", 0, {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert notices.recv(200).decode() == f"READY=1\nMAINPID={process.pid}"
        process.send_signal(signal.SIGUSR1)
        reloading, _, when = notices.recv(200).decode().partition("\nMONOTONIC_USEC=")
        assert reloading == "RELOADING=1"
        assert when.isdecimal()
        assert notices.recv(200) == b"READY=1"
        ended(process)
        assert notices.recv(200) == b"STOPPING=1"


@pytest.mark.parametrize("kind", [1, 5])
def test_a_socket_that_is_handed_over_is_served_and_left(kind, tmp_path):
    """A client that connected before the server ran is answered."""
    path = str(tmp_path / "socket")
    family = socket.AF_INET if kind == 1 else socket.AF_UNIX
    with socket.socket(family) as bound, socket.socket(family) as client:
        bound.bind(("127.0.0.1", 0) if kind == 1 else path)
        bound.listen()
        address = bound.getsockname()
        client.settimeout(LOOK)
        client.connect(address)
        client.sendall(b"early")
        host, port = address if kind == 1 else (path, 0)
        handed = bound.fileno()
        process = started(kind, host, port, {"HANDED_OVER": str(handed)}, [handed])
        assert client.recv(100) == b"early"
        ended(process)
        with socket.socket(family) as later:
            later.settimeout(LOOK)
            later.connect(address)  # the socket is still there


def test_a_socket_for_another_process_is_not_taken(tmp_path):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        process = started(1, "127.0.0.1", bound.getsockname()[1], {"LISTEN_PID": "1"})
        _, log = process.communicate(timeout=LOOK)
        assert process.returncode == 1
        assert b"Address already in use" in log

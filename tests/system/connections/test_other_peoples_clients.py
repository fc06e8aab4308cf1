"""Programs that nobody here wrote talk to a server: socat, ncat, systemd's socket activation.

(redis-cli and redis-benchmark are in test_examples.py, openssl in test_ports.py.)
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys

import pytest
from serving import LOOK

ECHO = """
udp = server.listen("127.0.0.1", 0, ipckit.SockType.UDP)
stream = server.listen({path!r}, 0, ipckit.SockType.UNIX_STREAM)
datagrams = server.listen({path!r} + ".d", 0, ipckit.SockType.UNIX_DGRAM)

@server.on("receive")
def receive(server, fd, reactor_id, data):
    if data == b"where\\n":
        server.send(fd, b"%d\\n" % udp.port)
    else:
        server.send(fd, data)

@server.on("packet")
def packet(server, data, client):
    server.sendto(client["address"], client["port"], data.upper())
"""


def talk(*command: str, said: bytes) -> bytes:
    done = subprocess.run(command, input=said, capture_output=True, timeout=LOOK, check=False)
    assert b"refused" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture
def echo(small, tmp_path):
    path = str(tmp_path / "s")
    server = small(ECHO.format(path=path))
    with server.connect() as client:
        client.sendall(b"where\n")
        return server.address[1], int(client.recv(100)), path


@pytest.mark.needs_socat
def test_socat(echo):
    tcp, udp, path = echo
    body = os.urandom(1_000_000)
    patience = f"-t{LOOK}"  # after the end of its input, until the server ends too
    assert talk("socat", patience, "-", f"TCP:127.0.0.1:{tcp}", said=body) == body
    assert talk("socat", patience, "-", f"UNIX-CONNECT:{path}", said=body) == body
    assert talk("socat", "-t0.5", "-", f"UDP:127.0.0.1:{udp}", said=b"datagram") == b"DATAGRAM"
    bound = f"UNIX-SENDTO:{path}.d,bind={path}.client"
    assert talk("socat", "-t0.5", "-", bound, said=b"unix datagram") == b"UNIX DATAGRAM"


@pytest.mark.needs_socat
def test_ncat(echo):
    tcp, udp, path = echo
    body = os.urandom(1_000_000)
    assert talk("ncat", "127.0.0.1", str(tcp), said=body) == body
    assert talk("ncat", "-U", path, said=body) == body
    with subprocess.Popen(  # it leaves at the end of its input, answered or not: keep that open
        ["ncat", "-u", "127.0.0.1", str(udp)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as datagrams:
        os.write(datagrams.stdin.fileno(), b"hi")
        assert select.select([datagrams.stdout], [], [], LOOK)[0]
        assert os.read(datagrams.stdout.fileno(), 100) == b"HI"
        datagrams.terminate()


SERVER = """
import ipckit, sys
server = ipckit.Server("127.0.0.1", int(sys.argv[1]), worker_num=1)
server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))
server.start()
"""


@pytest.mark.needs_systemd
def test_systemd_socket_activate():
    """The first client starts the server, and is served."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *("systemd-socket-activate", "-l", f"127.0.0.1:{port}"),
            *(sys.executable, "-c", SERVER, str(port)),
        ],
        stderr=subprocess.PIPE,
    )
    line = process.stderr.readline()
    assert b"Listening on" in line, line
    with socket.create_connection(("127.0.0.1", port), LOOK) as client:
        client.settimeout(LOOK)
        for _ in range(3):
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=LOOK)
    assert process.returncode == 0, log.decode()
    assert f"serving on 127.0.0.1:{port}" in log.decode()

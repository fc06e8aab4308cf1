"""Clients of a TLS port that have not shaken hands: they are counted, have a limit, and failures are logged.

And what a connection does over TLS as it does over plain TCP: ends, pauses, answers behind the
client's close_notify.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import ssl

import pytest
from ends import acknowledged, reset
from serving import wait_for

TLS = """
import ssl
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(CERTIFICATE)
server.set(ssl=context)

@server.on("receive")
async def receive(server, fd, reactor_id, data):
    await asyncio.sleep(0)
    server.send(fd, data)
"""


@pytest.fixture
def serve(small, certificate):
    return lambda settings="", code=TLS: small(
        code.replace("CERTIFICATE", repr(str(certificate))), settings
    )


def secure(server, certificate) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(certificate))
    return context.wrap_socket(server.connect(), server_hostname="localhost")


def echoes(sock) -> bool:
    sock.sendall(b"hello")
    return sock.recv(10) == b"hello"


def ended(sock: socket.socket) -> bool:
    """Whether the server ends the connection, within LOOK."""
    try:
        return sock.recv(100) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("workers", [1, 2])
def test_mute_clients_count_and_are_closed(serve, certificate, workers):
    """S9, F37: those of a worker that was killed count no more."""
    server = serve(f"max_connection=3, worker_num={workers}")
    with secure(server, certificate) as sock, contextlib.ExitStack() as mute:
        assert echoes(sock)
        wait_for(lambda: refused(mute.enter_context(server.connect())))
        assert echoes(sock)
    if workers == 1:
        pid = next(iter(server.children()))
        os.kill(pid, signal.SIGKILL)
        server.wait_for(lambda: server.children() and pid not in server.children())
    # Each worker sees in its own time that the mute ones have gone.
    with contextlib.ExitStack() as served:
        for _ in range(3):
            wait_for(lambda: is_served(server, certificate, served))
    assert "max_connection=3 are open" in server.end()


def is_served(server, certificate, stack: contextlib.ExitStack) -> bool:
    """Whether a new client is not refused; it stays open."""
    try:
        sock = stack.enter_context(secure(server, certificate))
    except (ConnectionError, ssl.SSLEOFError):
        return False
    return echoes(sock)


def refused(sock: socket.socket) -> bool:
    """Whether a new client is refused at once."""
    ready, _, _ = select.select([sock], [], [], 0.5)
    return bool(ready) and ended(sock)


def test_a_handshake_has_ten_seconds(serve, certificate):
    """S9, F37: of a mute client, and of one that began."""
    server = serve()
    with server.connect() as mute, server.connect() as slow:
        slow.sendall(b"\x16\x03\x01\x01\x00")  # the head of a record
        assert ended(mute) and ended(slow)
    with secure(server, certificate) as sock:
        assert echoes(sock)
    log = server.end()
    assert log.count("failed: it took over 10 s") == 2


def test_a_failed_handshake_leaves_a_line_with_the_reason(serve, certificate):
    """S9, F37: no TLS at all, an old version, a certificate that the client does not accept, an end."""
    server = serve()
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while sock.recv(100):
            pass
    with server.connect() as sock:
        distrusts = ssl.create_default_context()
        with pytest.raises(ssl.SSLError):
            distrusts.wrap_socket(sock, server_hostname="localhost")
    with server.connect() as sock:
        sock.sendall(b"\x16\x03\x01")
        sock.shutdown(socket.SHUT_WR)
        assert ended(sock)
    for _ in range(3):
        server.connect().close()  # as a health check does
    with secure(server, certificate) as sock:
        assert echoes(sock)
    log = server.end()
    lines = [line for line in log.splitlines() if "TLS handshake with" in line]
    assert [line.partition("failed: ")[2] for line in lines] == [
        "http request",
        "tlsv1 alert unknown ca",
        "the client ended it",
    ]
    assert "Traceback" not in log


def test_a_record_that_is_none_ends_the_connection_after_what_came_before_it(serve, certificate):
    """S9: with a log line, and `close` is called."""
    code = (
        TLS
        + """
@server.on("close")
def close(server, fd, reactor_id):
    print("closed", flush=True)
"""
    )
    server = serve(code=code)
    with secure(server, certificate) as sock:
        assert echoes(sock)
        with socket.socket(fileno=os.dup(sock.fileno())) as raw:
            raw.sendall(b"this is no record of TLS")
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert sock.recv(100) == b""
    assert server.line() == b"closed\n"
    log = server.end()
    assert "closed: TLS failed: " in log and "Traceback" not in log


def test_answers_come_after_the_clients_close_notify(serve, certificate):
    """S6, S8: the client has ended its half and reads on, as over TCP; then it reads an end."""
    server = serve()
    context = ssl.create_default_context(cafile=str(certificate))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with server.connect() as sock:

        def step(call):
            while True:
                try:
                    return call()
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))

        step(tls.do_handshake)
        tls.write(b"question")
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        sock.sendall(outgoing.read())  # the question and the close_notify together
        with sock.makefile("rb") as stream:
            incoming.write(stream.read())
        incoming.write_eof()
        assert tls.read(100) == b"question"
        with pytest.raises(ssl.SSLZeroReturnError):  # its close_notify
            tls.read(100)
    server.end()


def test_pause_in_connect_holds_a_tls_client(serve, certificate):
    """S6, F36: also what comes with the handshake's last bytes, and its end."""
    code = (
        TLS.replace("server.send(fd, data)", "print('receive', data, flush=True)")
        + """
@server.on("connect")
def connect(server, fd, reactor_id):
    server.pause(fd)
    server.after(0.3, resume, fd)

def resume(fd):
    print("resume", flush=True)
    server.resume(fd)

@server.on("close")
def close(server, fd, reactor_id):
    print("closed", flush=True)
"""
    )
    server = serve(code=code)
    with secure(server, certificate) as sock:
        sock.sendall(b"early")
        with sock.unwrap():
            pass
    assert [server.line() for _ in range(3)] == [b"resume\n", b"receive b'early'\n", b"closed\n"]
    server.end()


def test_what_is_sent_before_close_arrives_over_tls(serve, certificate):
    """S8: all of it, then close_notify, to a client that takes its time."""
    code = TLS.replace(
        "server.send(fd, data)", "server.send(fd, bytes(7_000_000)); server.close(fd)"
    )
    server = serve(code=code)
    with secure(server, certificate) as sock:
        sock.sendall(b"go")
        assert sock.recv(1) == b"\0"
        select.select([], [], [], 2.5)
        count = 1
        while part := sock.recv(1 << 20):
            count += len(part)
        assert count == 7_000_000
    server.end()


def test_what_came_with_the_handshakes_end_and_a_reset_is_handed_out(serve, certificate):
    """S6, F11: the server finds a handshake, a request and a reset in one wakeup."""
    code = (
        TLS.replace("server.send(fd, data)", "print('receive', data, flush=True)")
        + """
@server.on("close")
def close(server, fd, reactor_id):
    print("closed", flush=True)
"""
    )
    server = serve(code=code)
    (worker,) = server.children()
    context = ssl.create_default_context(cafile=str(certificate))
    for _ in range(5):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        sock = server.connect()
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        sock.sendall(outgoing.read())
        while True:
            incoming.write(sock.recv(65536))
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
        tls.write(b"request")
        os.kill(worker, signal.SIGSTOP)
        try:
            sock.sendall(outgoing.read())
            wait_for(lambda sock=sock: acknowledged(sock))
            reset(sock)
        finally:
            os.kill(worker, signal.SIGCONT)
        assert [server.line() for _ in range(2)] == [b"receive b'request'\n", b"closed\n"]
    server.end()

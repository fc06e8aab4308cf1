"""The TLS engine hands on every byte once and in order, however the stream is cut, and keeps none back.

The other side is the same engine as a client: no socket, no process.
"""

from __future__ import annotations

import itertools
import ssl
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipckit.server.connections.tls_engine import TLSEngine


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    """A server's context, and a client's for each version."""
    path = tmp_path_factory.mktemp("tls")
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        f"-subj /CN=localhost -keyout {path}/key -out {path}/crt".split(),
        check=True,
        capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path / "crt", path / "key")
    clients = []
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        client.minimum_version = client.maximum_version = version
        clients.append(client)
    return server, clients


def shaken(contexts, version: int) -> tuple[TLSEngine, TLSEngine]:
    server_context, client_contexts = contexts
    server = TLSEngine(server_context)
    client = TLSEngine(client_contexts[version], server_side=False)
    client.shake()
    while not (server.is_open and client.is_open):
        assert server.receive(client.outgoing()) == []
        assert client.receive(server.outgoing()) == []
        assert not server.failure and not client.failure
    assert server.receive(client.outgoing()) == [] and client.receive(server.outgoing()) == []
    return server, client


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


PIECES = st.lists(st.one_of(st.binary(max_size=50), st.integers(1, 70_000).map(bytes)), max_size=6)
CUTS = st.lists(st.integers(0, 10**6), max_size=12)


@given(st.integers(0, 1), PIECES, CUTS, st.booleans())
def test_both_ways_and_the_end(contexts, version, pieces, cuts, goodbye):
    """Whatever the cuts, what was sent comes, and all of it before the end is known."""
    server, client = shaken(contexts, version)
    for sender, receiver in ((client, server), (server, client)):
        for piece in pieces:
            sender.send(piece)
        if goodbye:
            sender.close()
        got = []
        for part in cut(sender.outgoing(), cuts):
            assert not receiver.peer_closed, "the end was known before all of it had come"
            got += receiver.receive(part)
        assert b"".join(got) == b"".join(pieces)
        assert receiver.peer_closed is goodbye and not receiver.failure
        assert receiver.receive(b"") == [], "nothing was kept back"


@given(st.integers(0, 1), PIECES, st.data())
def test_after_damage_what_came_before_it_was_returned(contexts, version, pieces, data):
    """One byte of a later record is changed: every record before it comes, and nothing after it."""
    server, client = shaken(contexts, version)
    client.send(b"before")
    whole = client.outgoing()
    client.send(b"damaged")
    damaged = bytearray(client.outgoing())
    damaged[data.draw(st.integers(5, len(damaged) - 1))] ^= 1
    for piece in pieces:
        client.send(piece)
    got = server.receive(whole + bytes(damaged) + client.outgoing())
    assert got == [b"before"] and server.failure
    assert server.receive(b"more") == []


def test_a_failed_handshake_says_why_and_makes_an_alert(contexts):
    server = TLSEngine(contexts[0])
    assert server.receive(b"GET / HTTP/1.1\r\n\r\n") == []
    assert server.failure == "http request" and not server.is_open
    server = TLSEngine(contexts[0])
    distrusting = ssl.create_default_context()
    distrusting.check_hostname = False  # Python 3.14 wants a name then, and the certificate is ours
    client = TLSEngine(distrusting, server_side=False)
    client.shake()
    server.receive(client.outgoing())
    client.receive(server.outgoing())
    assert "certificate verify failed" in client.failure
    assert "self" in client.failure, client.failure
    assert server.receive(client.outgoing()) == []
    assert server.failure == "tlsv1 alert unknown ca"

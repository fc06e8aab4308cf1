"""TLS clients upload while reading is paused, and end in every way: nothing that they know as sent is lost.

10,000 uploads with IPCKIT_SOAK=1, else a tenth; the assertions are the same.

A client knows a byte as sent when the other kernel has acknowledged it (SIOCOUTQ, tcp(7), is 0), or
when it has read the server's end of the connection after its own. A client that ends by a reset
waits for the first; every other one reads to the end, which comes after its own end of file.

Each upload is a random number of packets of random sizes, through an async receive that waits for
each, so that more than 64 packets wait and the socket is not read. Half of the uploads are answered
packet by packet by a server that finds out about the end from a failed write. `close` writes down
how many packets came, and a hash of them in order.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
import ssl
import struct
import threading

from ends import acknowledged, reset
from serving import LOOK, wait_for

UPLOADS = 10_000 if os.environ.get("IPCKIT_SOAK") == "1" else 1_000
CLIENTS = 12

TAKING = """
import hashlib, ssl
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(CERTIFICATE)
server.set(ssl=context)
ends = open(ENDS, "a", buffering=1)
uploads = {}

@server.on("connect")
def connect(server, fd, reactor_id):
    uploads[fd] = [0, hashlib.sha256(), b""]

@server.on("receive")
async def receive(server, fd, reactor_id, data):
    upload = uploads[fd]
    if not upload[0]:
        upload[2] = data[4:]
    upload[0] += 1
    upload[1].update(data)
    if upload[2].endswith(b"answered"):
        server.send(fd, b"answer")
    await asyncio.sleep(0.0002 if upload[0] % 4 == 0 else 0)

@server.on("close")
def close(server, fd, reactor_id):
    count, digest, name = uploads.pop(fd)
    print(name.decode() or "nameless", count, digest.hexdigest(), file=ends)
"""

ENDS = ("close_notify both ways", "close_notify", "end of file", "close_notify, reset", "reset")


def read_to_end(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


def say_goodbye(sock: ssl.SSLSocket) -> None:
    """Send close_notify, and do not wait for the other's."""
    sock.settimeout(0)
    try:
        sock.unwrap()
    except (ssl.SSLWantReadError, ssl.SSLError):
        pass  # the other's has not come; or answers have
    sock.settimeout(LOOK)


def end_upload(sock: ssl.SSLSocket, how: str) -> None:
    if how == "close_notify both ways":
        with sock.unwrap() as plain:
            plain.shutdown(socket.SHUT_WR)
            read_to_end(plain)
        return
    if how.startswith("close_notify"):
        say_goodbye(sock)
    with socket.socket(fileno=sock.detach()) as plain:
        plain.settimeout(LOOK)
        if how.endswith("reset"):
            wait_for(lambda: acknowledged(plain))
            reset(plain)
        else:
            plain.shutdown(socket.SHUT_WR)
            read_to_end(plain)


class Uploader(threading.Thread):
    """Some of the uploads, one after the other; remembers what the server has to write down."""

    def __init__(self, server, certificate, numbers) -> None:
        super().__init__()
        self.server = server
        self.certificate = certificate
        self.numbers = numbers
        self.expected: dict[str, tuple[int, str]] = {}
        self.failure: BaseException | None = None

    def run(self) -> None:
        contexts = []
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context(cafile=str(self.certificate))
            context.maximum_version = context.minimum_version = version
            contexts.append(context)
        try:
            for number in self.numbers:
                self.upload(number, contexts[number % 2])
        except BaseException as exc:
            self.failure = exc
            raise

    def upload(self, number: int, context: ssl.SSLContext) -> None:
        draw = random.Random(number)
        how = ENDS[number // 2 % len(ENDS)]
        answered = draw.random() < 0.5 and how != "close_notify both ways"  # it would have to read
        name = f"{number}{'-answered' if answered else ''}"
        packets = [name.encode()]
        packets += [draw.randbytes(draw.randrange(1, 3000)) for _ in range(draw.randrange(1, 200))]
        stream = b"".join(struct.pack(">I", len(packet)) + packet for packet in packets)
        self.expected[name] = len(packets), hashlib.sha256(stream).hexdigest()
        sock = context.wrap_socket(self.server.connect(), server_hostname="localhost")
        start = 0
        while start < len(stream):
            size = draw.randrange(1, 60_000)
            sock.sendall(stream[start : start + size])
            start += size
        end_upload(sock, how)


def test_nothing_that_a_client_knows_as_sent_is_lost(small, certificate, tmp_path):
    """S6, S4, F11: `close` is called once, after all of it."""
    ends = tmp_path / "ends"
    server = small(
        TAKING.replace("CERTIFICATE", repr(str(certificate))).replace("ENDS", repr(str(ends))),
        "open_length_check=True",
    )
    uploaders = [
        Uploader(server, certificate, range(first, UPLOADS, CLIENTS)) for first in range(CLIENTS)
    ]
    for uploader in uploaders:
        uploader.start()
    for uploader in uploaders:
        uploader.join()
    assert [uploader.failure for uploader in uploaders if uploader.failure] == []
    wait_for(lambda: ends.read_bytes().count(b"\n") >= UPLOADS)
    log = server.end()
    lines = [line.split() for line in ends.read_text().splitlines()]
    expected = {name: end for one in uploaders for name, end in one.expected.items()}
    came = {name: (int(count), digest) for name, count, digest in lines}
    wrong = {name: (came.get(name), end) for name, end in expected.items() if came.get(name) != end}
    print(
        f"{UPLOADS} uploads, {sum(end[0] for end in expected.values())} packets; "
        f"{len(wrong)} not as they were sent"
    )
    assert wrong == {}
    assert len(lines) == len(expected) == UPLOADS, "each has ended once"
    assert "Traceback" not in log

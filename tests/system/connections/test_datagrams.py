"""Datagrams come whole, whatever their sizes and however many workers read the socket.

1,000,000 datagrams with IPCKIT_SOAK=1, else a tenth; the assertions are the same. Each datagram has
its number, its length and a slice of a known text. A worker checks each one, and says at its end how
many it had and how many were wrong. The kernel counts what found no room in the socket's buffer:
what the workers had and what the kernel dropped is together what was sent, to the last datagram.
"""

from __future__ import annotations

import os
import random
import socket
import struct

import pytest
from deadlines import LOOK
from serving import wait_for

DATAGRAMS = 1_000_000 if os.environ.get("IPCKIT_SOAK") == "1" else 100_000
WORKERS = 4
HEAD = struct.Struct("<III")  # number, length, where its text begins
TEXT_SIZE = 70_000
TEXT = random.Random(1).randbytes(TEXT_SIZE)

COUNTING = f"""
import random, struct
HEAD = struct.Struct({HEAD.format!r})
TEXT = memoryview(random.Random(1).randbytes({TEXT_SIZE}))
seen = wrong = 0
notes = "NOTES"

@server.on("packet")
def packet(server, data, client):
    global seen, wrong
    seen += 1
    size = len(data)
    if size >= HEAD.size:
        _, length, start = HEAD.unpack_from(data)
        if length == size and data[HEAD.size:] == TEXT[start : start + size - HEAD.size]:
            return
    wrong += 1

@server.on("worker_stop")
def worker_stop(server, worker_id):
    with open(f"{{notes}}/{{os.getpid()}}", "w") as file:
        print(seen, wrong, file=file)
"""


def waiting_and_drops(port: int) -> tuple[int, int]:
    """Bytes that wait in the socket of a UDP port, and datagrams that found no room: proc(5)."""
    with open("/proc/net/udp") as table:
        for line in table.readlines()[1:]:
            words = line.split()
            if int(words[1].rpartition(":")[2], 16) == port:
                return int(words[4].rpartition(":")[2], 16), int(words[-1])
    raise AssertionError(f"no socket has port {port}")


def counted(server, notes) -> tuple[list[int], int]:
    """End the server; how many datagrams each worker had, and how many were wrong."""
    server.end()
    rows = [tuple(map(int, path.read_text().split())) for path in notes.iterdir()]
    return [row[0] for row in rows], sum(row[1] for row in rows)


def test_random_sizes_to_four_workers_none_is_cut(small, tmp_path):
    """S21, F10: a datagram is read whole, by whichever worker is first."""
    server = small(
        COUNTING.replace("NOTES", str(tmp_path)),
        f"sock_type=ipckit.SockType.UDP, worker_num={WORKERS}",
    )
    draw = random.Random(2)
    port = server.address[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(server.address)
        for number in range(DATAGRAMS):
            # Mostly small and close together: that is when workers meet at the socket.
            most = 65_000 if number % 100 == 0 else 2_000
            body = draw.randrange(most)
            start = draw.randrange(TEXT_SIZE - body)
            length = HEAD.size + body
            sock.send(HEAD.pack(number, length, start) + TEXT[start : start + body])
        wait_for(lambda: waiting_and_drops(port)[0] == 0)
        dropped = waiting_and_drops(port)[1]
    seen, wrong = counted(server, tmp_path)
    print(f"{DATAGRAMS} datagrams: workers had {seen}, the kernel had no room for {dropped}")
    assert wrong == 0
    assert sum(seen) + dropped == DATAGRAMS
    assert len(seen) == WORKERS and sum(seen) > DATAGRAMS / 100, "too few to prove anything"


@pytest.mark.parametrize("kind", ["UDP", "UNIX_DGRAM"])
def test_a_datagram_over_the_limit_is_refused_whole_and_the_next_one_comes(small, tmp_path, kind):
    """S21, F10: the longest that is accepted comes whole; one byte more leaves a line with its size."""
    unix = kind == "UNIX_DGRAM"
    host = str(tmp_path / "server") if unix else "127.0.0.1"
    server = small(
        """
        @server.on("packet")
        def packet(server, data, client):
            server.sendto(client["address"], client["port"], str(len(data)).encode())
        """,
        f"sock_type=ipckit.SockType.{kind}, package_max_length=5000",
        host=host,
    )
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(LOOK)
        sock.bind(str(tmp_path / "client") if unix else ("127.0.0.1", 0))
        for size in (5001, 5000, 60_000, 0, 1):
            sock.sendto(b"x" * size, host if unix else server.address)
        assert [sock.recv(100) for _ in range(3)] == [b"5000", b"0", b"1"]
    log = server.end()
    assert "a datagram of 5001 bytes" in log and "a datagram of 60000 bytes" in log

"""What a worker and its connections take of memory, and how soon a server is there."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ipckit.cli.bench.rounds import Rounds, Row, limited
from ipckit.cli.bench.yardsticks import echo_server, served, worker_of

IDLE = 10_000
MIB = 2**20
BARE = "import uvloop, sys; print(flush=True); sys.stdin.read()"


def private(pid: int) -> int:
    """Return bytes that only this process has."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    return 0


def bare_python() -> int:
    """Return the private bytes of a Python that has uvloop imported, and nothing else."""
    with subprocess.Popen(
        [sys.executable, "-c", BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return private(process.pid)


def connections(port: int, pid: int) -> float:
    """Return what IDLE connections add to the worker, in bytes each; all answer."""
    socks = []
    worker = worker_of(pid)
    before = 0
    for number in range(IDLE + 100):
        if number == 100:
            before = private(worker)
        socks.append(sock := socket.create_connection(("127.0.0.1", port)))
        sock.sendall(b"x")
        assert sock.recv(10) == b"x"
    grown = private(worker) - before
    for sock in socks:
        sock.sendall(b"y")
        assert sock.recv(10) == b"y"
        sock.close()
    return grown / IDLE


SERVER = """
import json, os, sys, time, ipckit
server = ipckit.Server("127.0.0.1", 0, worker_num=2, task_worker_num=2, log_level="ERROR")
server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))
server.on("task", lambda *args: None)
server.on("start", lambda server: print(json.dumps(server.port), flush=True))

print(time.time(), flush=True)
server.start()
"""


def first_answer() -> float:
    """Return ms from start() to the first answer, with four processes."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        began = float(process.stdout.readline())
        port = json.loads(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"x")
            sock.recv(10)
        took = time.time() - began
        process.terminate()
    return took * 1000


def main() -> Iterator[Row]:
    """Measure."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    bare = bare_python()
    idle = served(echo_server, lambda _port, pid: private(worker_of(pid)))
    yield limited("an idle worker, over a bare Python with uvloop", idle - bare, 12 * MIB, "bytes")
    many = {"max_connection": IDLE + 200, "backlog": 2048}
    each = served(lambda ready: echo_server(ready, **many), connections)
    yield limited("one of 10,000 idle connections, all answer", each, 4096, "bytes")
    took = Rounds({"start": first_answer}).median("start")
    yield limited("start() to the first answer, four processes", took, 300, "ms")

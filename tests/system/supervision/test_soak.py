"""All together, for long: requests, tasks, reloads, kills, hostile clients. Then nothing has grown.

A minute in `make test`, ten in `make soak`. What is compared is the end with what was there after
half a minute, or a whole one, so that what fills up once may do so.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import socket
import struct
import time
from pathlib import Path
from statistics import median

from deadlines import LOOK
from loading import Load

PAUSE = 0.0 if os.environ.get("IPCKIT_SOAK") == "1" else 0.005
"""Between two turns of the load: a minute at full load costs the other suites half a minute."""
SECONDS = 600 if os.environ.get("IPCKIT_SOAK") == "1" else 60
WARM = min(60, SECONDS // 2)
WINDOW = 10
CLIENTS = 50
HOSTILE = 200

PROGRAM = """
import json

@server.on("receive")
def receive(server, fd, reactor_id, data):
    word = data.rstrip()
    if word == b"stats":
        server.send(fd, json.dumps(server.stats()).encode() + b"\\n")
    elif word == b"large":
        server.send(fd, b"x" * 1_000_000)
    elif word.endswith(b"7"):
        server.task((fd, data))
    else:
        server.send(fd, data)

@server.on("task")
def task(server, task_id, source, data):
    return data

@server.on("finish")
def finish(server, task_id, result):
    server.send(*result)
"""
SETTINGS = (
    'open_eof_split=True, package_eof="\\n", worker_num=2, task_worker_num=2, max_connection=2000, '
    "package_max_length=65536, package_timeout=1, heartbeat_idle_time=5, socket_buffer_size=262144, "
    "task_max_attempts=50, task_retry_delays=(0,), backlog=2048, max_wait_time=5, log_file={log!r}"
)


def slow_reader(sock: socket.socket) -> None:
    sock.sendall(b"large\n" * 3)


def slow_sender(sock: socket.socket) -> None:
    sock.sendall(b"o")


def oversized(sock: socket.socket) -> None:
    sock.sendall(b"x" * 70_000)


def silent(sock: socket.socket) -> None:
    del sock


def reset_in_mid_packet(sock: socket.socket) -> None:
    sock.sendall(b"half of a li")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def connect_and_go(sock: socket.socket) -> None:
    sock.close()


KINDS = [slow_reader, slow_sender, oversized, silent, reset_in_mid_packet, connect_and_go]


def private_memory(pid: int) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_Dirty:"):
                return int(line.split()[1]) * 1024
    return 0


def descriptors(pid: int) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def stats(address) -> dict:
    """Ask over a connection of its own; again, if its worker dies before it answers."""
    while True:
        with contextlib.suppress(OSError), socket.create_connection(address, LOOK) as sock:
            sock.settimeout(LOOK)
            sock.sendall(b"stats\n")
            with sock.makefile("rb") as answer:
                if line := answer.readline():
                    return json.loads(line)


class Trouble:
    """What is done to the server beside its load, each at its time."""

    def __init__(self, server) -> None:
        self.server = server
        self.rng = random.Random(6)
        self.now = time.monotonic()
        self.due = {self.kill: 1.5, self.reload: 10.0, self.attack: 2.0, self.sample: 1.0}
        self.at = {what: self.now + every for what, every in self.due.items()}
        self.counts = dict.fromkeys(self.due, 0)
        self.hostile: list[socket.socket] = []
        self.samples: list[tuple[float, int, int]] = []  # when, manager's memory, all memory

    def turn(self) -> None:
        now = time.monotonic()
        for what, at in self.at.items():
            if now > at:
                self.at[what] = now + self.due[what]
                self.counts[what] += 1
                what()

    def kill(self) -> None:
        if children := sorted(self.server.children()):
            os.kill(self.rng.choice(children), signal.SIGKILL)

    def reload(self) -> None:
        self.server.process.send_signal(signal.SIGUSR1)

    def attack(self) -> None:
        self.end_attack()
        kind = self.rng.choice(KINDS)
        for _ in range(HOSTILE):
            sock = socket.create_connection(self.server.address, LOOK)
            self.hostile.append(sock)
            with contextlib.suppress(OSError):  # it was closed while we spoke
                kind(sock)

    def end_attack(self) -> None:
        for sock in self.hostile:
            sock.close()
        self.hostile.clear()

    def sample(self) -> None:
        manager = self.server.process.pid
        each = [private_memory(pid) for pid in self.server.children()]
        own = private_memory(manager)
        self.samples.append((time.monotonic(), own, own + sum(each)))


def test_nothing_grows(small, tmp_path):
    log = tmp_path / "log"
    server = small(PROGRAM, SETTINGS.format(log=str(log)))
    manager = server.process.pid
    idle = descriptors(manager)
    load = Load(server, CLIENTS)
    trouble = Trouble(server)
    began = time.monotonic()
    while time.monotonic() < began + SECONDS or load.answers <= 500 * SECONDS:
        load.turn()
        trouble.turn()
        if PAUSE:
            select.select([], [], [], PAUSE)
    trouble.end_attack()
    load.none_hangs()
    counts = {what.__name__: count for what, count in trouble.counts.items()}
    print(
        f"{SECONDS} s: {load.answers} answers, {load.ended} ended, {load.repeats} twice, {counts}"
    )
    load.end()

    last: dict = {}

    def quiet() -> bool:
        last.update(stats(server.address))
        return last["connection_num"] == 1 and not last["tasking_num"]

    server.wait_for(quiet)
    assert last["task_count"] == last["task_done"] + last["task_buried"]
    assert last["task_buried"] == last["callback_errors"] == 0
    server.wait_for(lambda: descriptors(manager) <= idle + 2)  # and the last one that asks
    for column, what in ((1, "of the manager"), (2, "of all processes")):
        early = [row[column] for row in trouble.samples if WARM < row[0] - began < WARM + WINDOW]
        late = [row[column] for row in trouble.samples if row[0] - began > SECONDS - WINDOW]
        print(f"memory {what}: {median(early) / 2**20:.1f} MiB, then {median(late) / 2**20:.1f}")
        assert median(late) < 1.1 * median(early) + 4 * 2**20, what
    assert load.repeats <= counts["kill"]
    server.end()
    text = log.read_text()
    assert "Traceback" not in text, text[text.index("Traceback") - 500 :][:3000]

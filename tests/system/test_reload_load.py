"""Reloads and kills under load: what clients see of them.

Each client numbers its requests and knows every answer: one that is missing, cut, double or in the
wrong place is found. In full with IPCKIT_SOAK=1.
"""

from __future__ import annotations

import os
import random
import selectors
import signal
import socket
import time

import pytest
from serving import LOOK, Small

SOAK = os.environ.get("IPCKIT_SOAK") == "1"
CLIENTS = 200
KILL_EACH = 0.2  # seconds

ECHO = """
@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send(fd, data)
"""


class Client:
    """One connection with one request under way at a time."""

    def __init__(self, address: tuple[str, int], name: int) -> None:
        self.sock = socket.create_connection(address, LOOK)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.name = name
        self.number = 0
        self.answers = 0
        self.got = b""
        self.asked_at = 0.0

    def ask(self) -> None:
        self.number += 1
        self.asked_at = time.monotonic()
        try:
            self.sock.sendall(b"%d-%d\n" % (self.name, self.number))
        except OSError:
            pass  # hear() says so

    def hear(self) -> bool:
        """Take what came; False: the connection ended."""
        try:
            part = self.sock.recv(4096)
        except OSError:
            return False
        if not part:
            return False
        self.got += part
        if self.got.endswith(b"\n"):
            assert self.got == b"%d-%d\n" % (self.name, self.number)
            self.got = b""
            self.answers += 1
        return True

    @property
    def waits(self) -> bool:
        return self.answers < self.number


class Load:
    """CLIENTS connections that ask and hear, one thread, until somebody has seen enough."""

    def __init__(self, server: Small, clients: int = CLIENTS) -> None:
        self.server = server
        self.selector = selectors.DefaultSelector()
        self.answers = 0
        self.ended = 0
        self.names = 0
        for _ in range(clients):
            self._connect()

    def _connect(self) -> None:
        self.names += 1
        client = Client(self.server.address, self.names)  # a refusal raises
        self.selector.register(client.sock, selectors.EVENT_READ, client)
        client.ask()

    def turn(self) -> None:
        events = self.selector.select(LOOK)
        assert events, "no client hears anything any more"
        for key, _ in events:
            client: Client = key.data
            before = client.answers
            if client.hear():
                self.answers += client.answers - before
                if not client.waits:
                    client.ask()
                continue
            self.selector.unregister(client.sock)
            client.sock.close()
            self.ended += 1
            self._connect()

    def none_hangs(self) -> None:
        now = time.monotonic()
        oldest = min(key.data.asked_at for key in self.selector.get_map().values())
        assert now - oldest < LOOK / 2, "a client hears nothing, and no end"

    def end(self) -> None:
        for key in list(self.selector.get_map().values()):
            key.data.sock.close()
        self.selector.close()


@pytest.fixture
def load(small):
    made: list[Load] = []

    def begin(settings: str) -> Load:
        made.append(Load(small(ECHO, settings)))
        return made[-1]

    yield begin
    for one in made:
        one.end()


@pytest.mark.timeout(1200)
def test_rolling_reloads_under_load_drop_nothing(load):
    reloads, least = (50, 1_000_000) if SOAK else (5, 100_000)
    one = load('open_eof_split=True, package_eof="\\n", worker_num=2, max_wait_time=10')
    before = one.server.children()
    done = 0
    while done < reloads or one.answers < least:
        one.turn()
        now = one.server.children()
        if done < reloads and len(now) == 2 and not (done and now & before):
            before = now
            one.server.process.send_signal(signal.SIGUSR1)
            done += 1
    one.none_hangs()
    print(f"{reloads} reloads, {one.answers} answers, {one.ended} connections ended")
    assert one.ended == 0
    assert "Traceback" not in one.server.end()


@pytest.mark.timeout(1200)
def test_kills_under_load_end_only_what_was_under_way(load):
    seconds = 60 if SOAK else 6
    one = load('open_eof_split=True, package_eof="\\n", worker_num=2')
    idle = [Client(one.server.address, 10**6 + number) for number in range(50)]
    for client in idle:
        client.ask()
        assert client.hear()
    rng = random.Random(1)
    kills, next_kill = 0, time.monotonic() + 1
    end = next_kill + seconds
    while time.monotonic() < end:
        one.turn()
        if time.monotonic() > next_kill:
            next_kill += KILL_EACH
            for pid in rng.sample(sorted(one.server.children()), 1):
                os.kill(pid, signal.SIGKILL)
                kills += 1
    one.none_hangs()
    print(f"{kills} kills, {one.answers} answers, {one.ended} connections ended")
    assert kills > 2 * seconds and one.answers > 1000 * seconds
    assert one.ended <= kills * CLIENTS
    for client in idle:
        client.ask()
        assert client.hear(), "an idle connection goes on"
        client.sock.close()

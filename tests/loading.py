"""Many clients that ask and hear in one thread, and find every wrong answer.

Each numbers its requests and knows every answer: one that is missing, cut, double or in the wrong
place is found. Lines end with a newline.
"""

from __future__ import annotations

import selectors
import socket
import time

from serving import LOOK, Small

__all__ = ["Client", "Load"]


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
        self.repeats = 0  # answers to earlier requests, heard again

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
        *lines, self.got = (self.got + part).split(b"\n")
        for line in lines:
            name, _, number = line.partition(b"-")
            assert int(name) == self.name and int(number) <= self.number, line
            if int(number) == self.number and self.waits:
                self.answers += 1
            else:
                self.repeats += 1
        return True

    @property
    def waits(self) -> bool:
        return self.answers < self.number


class Load:
    """Connections that ask and hear, one thread, until somebody has seen enough."""

    def __init__(self, server: Small, clients: int) -> None:
        self.server = server
        self.selector = selectors.DefaultSelector()
        self.answers = 0
        self.ended = 0
        self.repeats = 0
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
            before = client.answers, client.repeats
            if client.hear():
                self.answers += client.answers - before[0]
                self.repeats += client.repeats - before[1]
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

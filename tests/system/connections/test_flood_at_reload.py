"""Lines of clients to all others, of both workers, as fast as they go, through reloads: S8, S11.

More waits for a worker than its inbox takes: the rest is in the outboxes of the others.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict

import pytest
from deadlines import RUN
from serving import LOOK, Small
from watching import until

from ipckit import Client

PROGRAM = """
@server.on("receive")
def receive(server, fd, reactor_id, data):
    if data == b"here\\n":
        return server.send(fd, data)
    for session in server.connections:
        if session != fd:
            server.send(session, data)
    server.send(fd, data)
"""
CLIENTS, RELOADS = 8, 3
AHEAD = 300
"""Lines of all speakers together that the slowest listener has not heard yet."""


class Room:
    """Speakers and listeners; lines are "SPEAKER NUMBER", the last number of each is -1."""

    def __init__(self, server: Small, speakers: int) -> None:
        self.speakers = range(speakers)
        self.said = dict.fromkeys(self.speakers, 0)
        self.heard: list[defaultdict[int, list[int]]] = [defaultdict(list) for _ in range(CLIENTS)]
        self.over = False
        self._news = threading.Condition()
        self._clients = [self._join(server) for _ in range(CLIENTS)]
        self._threads = [
            *(threading.Thread(target=self._listen, args=(at,)) for at in range(CLIENTS)),
            *(threading.Thread(target=self._speak, args=(at,)) for at in self.speakers),
        ]
        for one in self._threads:
            one.start()

    def _join(self, server: Small) -> Client:
        client = Client(open_eof_split=True, package_eof=b"\n")
        client.connect(*server.address, timeout=LOOK)
        client.send(b"here\n")
        assert client.recv() == b"here\n"
        return client

    def slowest(self, speaker: int) -> int:
        return min(len(heard[speaker]) for heard in self.heard)

    def _may_speak(self, speaker: int) -> bool:
        waits = self.said[speaker] - self.slowest(speaker)
        return self.over or waits < AHEAD // len(self.speakers)

    def _speak(self, speaker: int) -> None:
        while not self.over:
            with self._news:
                assert self._news.wait_for(lambda: self._may_speak(speaker), LOOK)
            self._clients[speaker].send(b"%d %d\n" % (speaker, self.said[speaker]))
            self.said[speaker] += 1
        self._clients[speaker].send(b"%d -1\n" % speaker)

    def _listen(self, at: int) -> None:
        ended = 0
        while ended < len(self.speakers):
            speaker, number = map(int, self._clients[at].recv().split())
            self.heard[at][speaker].append(number)
            ended += number < 0
            with self._news:
                self._news.notify_all()

    def end(self) -> None:
        self.over = True
        end = time.monotonic() + RUN
        for one in self._threads:
            one.join(max(0.0, end - time.monotonic()))
        for client in self._clients:
            client.close()


@pytest.mark.parametrize("speakers", [1, 4])
def test_nothing_is_lost_or_overtaken(small, speakers):
    settings = 'worker_num=2, open_eof_split=True, package_eof="\\n", max_wait_time=20, reload_timeout=1000'
    server = small(PROGRAM, settings)
    room = Room(server, speakers)
    for _ in range(RELOADS):
        begin, before = room.slowest(0), server.children()
        until(lambda begin=begin: room.slowest(0) > begin + 300, bool)
        os.kill(server.process.pid, signal.SIGUSR1)
        until(
            lambda before=before: [pid for pid in before if os.path.exists(f"/proc/{pid}")],
            lambda left: not left,
        )
    room.end()
    for at, heard in enumerate(room.heard):
        for speaker, said in room.said.items():
            numbers, wanted = heard[speaker], [*range(said), -1]
            lost = sorted(set(wanted) - set(numbers))
            assert not lost, f"{at} lost {len(lost)} of {said} lines: {lost[:3]}"
            late = [n for n, (a, b) in enumerate(zip(numbers, wanted, strict=True)) if a != b]
            assert not late, f"overtaken: {numbers[late[0] - 3 : late[0] + 3]}, of {len(late)}"

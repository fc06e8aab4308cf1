"""Reloads and kills under load: what clients see of them.

In full with IPCKIT_SOAK=1.
"""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from loading import Client, Load

SOAK = os.environ.get("IPCKIT_SOAK") == "1"
CLIENTS = 200
KILL_EACH = 0.2  # seconds

ECHO = """
@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send(fd, data)
"""


@pytest.fixture
def load(small):
    made: list[Load] = []

    def begin(settings: str) -> Load:
        made.append(Load(small(ECHO, settings), CLIENTS))
        return made[-1]

    yield begin
    for one in made:
        one.end()


def test_rolling_reloads_under_load_drop_nothing(load):
    """S11: no client is refused, no answer lost or doubled."""
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
    assert one.ended == one.repeats == 0
    assert "Traceback" not in one.server.end()


def test_kills_under_load_end_only_what_was_under_way(load):
    """S13: under load."""
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
    assert one.repeats == 0 and one.ended <= kills * CLIENTS
    for client in idle:
        client.ask()
        assert client.hear(), "an idle connection goes on"
        client.sock.close()

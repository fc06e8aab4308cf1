"""Reloads and kills under load: what clients see of them.

In full with IPCKIT_SOAK=1.
"""

from __future__ import annotations

import os
import random
import signal

import pytest
from loading import Client, Load

SOAK = os.environ.get("IPCKIT_SOAK") == "1"
CLIENTS = 200
ANSWERS_A_KILL = 400

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
    one = load(
        'open_eof_split=True, package_eof="\\n", worker_num=2, max_wait_time=10, reload_timeout=1000'
    )
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
    most = 300 if SOAK else 30
    one = load('open_eof_split=True, package_eof="\\n", worker_num=2')
    idle = [Client(one.server.address, 10**6 + number) for number in range(50)]
    for client in idle:
        client.ask()
        assert client.hear()
    rng = random.Random(1)
    kills = 0
    while kills < most or one.answers < 200 * most:
        one.turn()
        alive = sorted(one.server.children())
        if one.answers >= (kills + 1) * ANSWERS_A_KILL and alive:
            os.kill(rng.choice(alive), signal.SIGKILL)
            kills += 1
    one.none_hangs()
    print(f"{kills} kills, {one.answers} answers, {one.ended} connections ended")
    assert one.repeats == 0 and one.ended <= kills * CLIENTS
    for client in idle:
        client.ask()
        assert client.hear(), "an idle connection goes on"
        client.sock.close()

"""send_message in every direction."""

from __future__ import annotations

import pytest
from serving import Refused


def test_messages_in_every_direction(start, mode):
    """S17: every process to every other."""
    running = start(task_ipc_mode=mode, worker_num=2, task_worker_num=2)
    clients = {}
    while len(clients) < 2:
        ask = running.client()
        clients[ask("about")["worker_id"]] = ask
    got = set()
    for source in range(4):
        for dst in range(4):
            if source == dst:
                continue
            text = f"{source}>{dst}"
            if source < 2:
                clients[source]("call", "send_message", text, dst)
            else:
                clients[0](
                    "call", "send_message", {"then": dst, "text": text}, source
                ) if dst else clients[1](
                    "call", "send_message", {"then": dst, "text": text}, source
                )
            got.add((dst, source))
    heard = running.wait_for(
        lambda: len(found := running.journal("message")) >= 12 and found, "all are heard"
    )
    assert {(entry[1], entry[3]) for entry in heard} == got


def test_messages_of_any_size_keep_their_order(start):
    """S17: whole and in order."""
    running = start(worker_num=2, task_worker_num=0)
    clients = {}
    while len(clients) < 2:
        ask = running.client()
        clients[ask("about")["worker_id"]] = ask
    sizes = [0, 1, 32 * 1024, 5, 1 << 20, 7]
    for size in sizes:
        clients[0]("call", "send_message", b"x" * size, 1)
    messages = running.wait_for(
        lambda: len(found := clients[1]("messages")) == len(sizes) and found, "all are heard"
    )
    assert [len(message) for _, message in messages] == sizes
    assert {source for source, _ in messages} == {0}


def test_an_inbox_nobody_reads_refuses_and_never_waits(start, tmp_path):
    """S17: a full inbox."""
    running = start(worker_num=2, task_worker_num=0)
    clients = {}
    while len(clients) < 2:
        ask = running.client()
        clients[ask("about")["worker_id"]] = ask
    clients[1].tell("block", str(tmp_path / "gate"))
    running.wait_for(lambda: running.journal("block"), "it reads nothing")
    with pytest.raises(Refused, match="QueueFull"):
        for _ in range(1000):
            clients[0]("call", "send_message", b"x" * 10_000, 1)
    (tmp_path / "gate").touch()
    clients[1].hear()

    def there_is_room():
        try:
            clients[0]("call", "send_message", b"again", 1)
        except Refused:
            return False
        return True

    running.wait_for(there_is_room, "the inbox is read again")


def test_wrong_destinations(start):
    ask = start(worker_num=1, task_worker_num=1).client()
    with pytest.raises(Refused, match="MisuseError"):
        ask("call", "send_message", 1, 0)
    for dst in (-1, 2, "0"):
        with pytest.raises(Refused, match=r"ValueError.*must be 0\.\.1"):
            ask("call", "send_message", 1, dst)
    with pytest.raises(Refused, match="TypeError"):
        ask("call", "send_message")


def test_timers(start):
    ticks, cleared, tick_cleared, after_cleared = start().client()("timers")
    assert ticks.count("after") == 1 and ticks.count("tick") == 4
    assert cleared == (True, False) and tick_cleared and not after_cleared

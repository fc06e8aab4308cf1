"""Channel beside a bare socket pair and multiprocessing's Pipe, frames of 100 bytes."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial

from ipckit.channel import Channel
from ipckit.cli.bench.rounds import Rounds, Row

TURNS = 3000
FRAMES = 20_000
BODY = b"x" * 100
Ends = tuple[Callable[[bytes], object], Callable[[], bytes], Callable[[bytes], object]]
Made = tuple[
    Callable[[bytes], object], Callable[[], object], Callable[[], bytes], Callable[[bytes], object]
]


def ours() -> Made:
    near, far = Channel.pair()
    return near.send, near.receive, lambda: far.receive().body, far.send


def bare() -> Made:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return near.send, partial(near.recv, 4096), partial(far.recv, 4096), far.send


def pipe() -> Made:
    near, far = multiprocessing.Pipe()
    return near.send_bytes, near.recv_bytes, far.recv_bytes, far.send_bytes


def in_a_child(work: Callable[[], None], ours_then: Callable[[], None]) -> float:
    """Return the seconds until both are done."""
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    began = time.perf_counter()
    ours_then()
    os.waitpid(pid, 0)
    return time.perf_counter() - began


def there_and_back(make: Callable[[], Made]) -> float:
    """Return us for a frame to a child and one back."""
    send, hear, receive, answer = make()

    def echo() -> None:
        for _ in range(TURNS):
            answer(receive())

    def ask() -> None:
        for _ in range(TURNS):
            send(BODY)
            hear()

    return in_a_child(echo, ask) / TURNS * 1e6


def one_way(make: Callable[[], Made]) -> float:
    """Return frames a second to a child."""
    send, _, receive, _ = make()

    def take() -> None:
        for _ in range(FRAMES):
            receive()

    def give() -> None:
        for _ in range(FRAMES):
            send(BODY)

    return FRAMES / in_a_child(take, give)


def main() -> Iterator[Row]:
    """Measure."""
    kinds = {"ours": ours, "a bare socket pair": bare, "multiprocessing.Pipe": pipe}
    turns = Rounds({name: partial(there_and_back, make) for name, make in kinds.items()})
    flow = Rounds({name: partial(one_way, make) for name, make in kinds.items()})
    for peer in list(kinds)[1:]:
        yield turns.row("Channel, there and back", "ours", peer, "us")
    for peer in list(kinds)[1:]:
        yield flow.row("Channel, one way", "ours", peer, "/s", less=False)

"""Channel beside a bare socket pair and multiprocessing's Pipe: a frame there and one back."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections.abc import Callable

from bench.rounds import Row, medians, shown
from ipckit.channel import Channel

TURNS = 20_000
BODY = b"x" * 100


def ping_pong(
    send: Callable[[bytes], object], hear: Callable[[], object], echo: Callable[[], object]
) -> float:
    """Return microseconds for a frame to a child and one back; `echo` is the child's turn."""
    pid = os.fork()
    if pid == 0:
        for _ in range(TURNS):
            echo()
        os._exit(0)
    began = time.perf_counter()
    for _ in range(TURNS):
        send(BODY)
        hear()
    took = time.perf_counter() - began
    os.waitpid(pid, 0)
    return took / TURNS * 1e6


def ours() -> float:
    """Channel."""
    near, far = Channel.pair()
    with near, far:
        return ping_pong(near.send, near.receive, lambda: far.send(far.receive().body))


def bare() -> float:
    """A bare socket pair, without frames."""
    near, far = socket.socketpair()
    with near, far:
        return ping_pong(near.send, lambda: near.recv(4096), lambda: far.send(far.recv(4096)))


def pipe() -> float:
    """multiprocessing.Pipe()."""
    near, far = multiprocessing.Pipe()
    with near, far:
        return ping_pong(near.send_bytes, near.recv_bytes, lambda: far.send_bytes(far.recv_bytes()))


def main() -> list[Row]:
    """Measure and print."""
    found = medians({"ours": ours, "bare": bare, "pipe": pipe})
    return shown(
        [
            Row("Channel there and back, bare socket pair", found["ours"], found["bare"], "us"),
            Row("the same, multiprocessing.Pipe", found["ours"], found["pipe"], "us"),
        ]
    )

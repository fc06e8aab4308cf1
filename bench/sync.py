"""Atomic and Lock beside those of multiprocessing, in one process without a rival."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

from ipckit.cli.bench.rounds import Rounds, Row, timed
from ipckit.sync import Atomic, Lock

CALLS = 100_000


def main() -> Iterator[Row]:
    """Measure."""
    number, lock = Atomic(), Lock()
    fork = multiprocessing.get_context("fork")
    value, rival = fork.Value("q"), fork.Lock()

    def loop(calls: int) -> None:
        for _ in range(calls):
            pass

    def add(calls: int) -> None:
        for _ in range(calls):
            number.add(1)

    def value_add(calls: int) -> None:
        for _ in range(calls):
            with value.get_lock():
                value.value += 1

    def ours(calls: int) -> None:
        for _ in range(calls):
            with lock:
                pass

    def theirs(calls: int) -> None:
        for _ in range(calls):
            with rival:
                pass

    runs = {
        "loop": loop,
        "add": add,
        "multiprocessing.Value": value_add,
        "lock": ours,
        "multiprocessing.Lock": theirs,
    }
    found = Rounds({name: timed(run, CALLS) for name, run in runs.items()}).less("loop")
    yield found.row("Atomic.add", "add", "multiprocessing.Value", "ns")
    yield found.row("Lock, taken and given back", "lock", "multiprocessing.Lock", "ns")

"""Atomic and Lock beside those of multiprocessing, in one process without a rival."""

from __future__ import annotations

import multiprocessing

from bench.rounds import Row, nanoseconds, shown
from ipckit.sync import Atomic, Lock

CALLS = 100_000


def main() -> list[Row]:
    """Measure and print."""
    number, lock = Atomic(), Lock()
    value, rival = multiprocessing.Value("q"), multiprocessing.Lock()

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

    found = nanoseconds(
        {"loop": loop, "add": add, "value": value_add, "lock": ours, "rival": theirs}, CALLS
    )
    return shown(
        [
            Row("Atomic.add, multiprocessing.Value", found["add"], found["value"], "ns"),
            Row("Lock, multiprocessing.Lock", found["lock"], found["rival"], "ns"),
        ]
    )

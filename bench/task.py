"""Task round trips through one worker and one task worker, in every mode, ledger on.

Against the floor for two Python processes: bare loops over a datagram socket pair, pickle on both
sides. With 32 in flight the floor's loops poll; with 1 they block, a bare ping-pong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from ipckit.cli.bench.rounds import Rounds, Row, in_a_process
from ipckit.cli.bench.yardsticks import bare_tasks, server_tasks

SWOOLE_100_KB = 27_000
"""Tasks of 100 kB a second through Swoole 6.2, measured on another day and machine."""

FLOOR, PING_PONG = "two bare loops", "a bare ping-pong"


class Load(NamedTuple):
    """What is asked for."""

    name: str
    tasks: int
    window: int
    data: str


MANY = Load("tasks, 100 B, 32 in flight", 100_000, 32, "x" * 100)
SINGLE = Load("a task, 100 B, 1 in flight", 10_000, 1, "x" * 100)
LARGE = Load("tasks, 100 kB, 8 in flight", 5000, 8, "x" * 100_000)


def rates(load: Load, floor: str) -> Rounds:
    """Return tasks per second of the floor and of each mode."""
    wanted = load.tasks, load.window, load.data
    runs: dict[str, Callable[[], float]] = {
        floor: partial(in_a_process, partial(bare_tasks, *wanted))
    }
    for mode in (1, 2, 3):
        serve = partial(server_tasks, *wanted, task_ipc_mode=mode)
        runs[f"mode {mode}"] = partial(in_a_process, serve)
    return Rounds(runs)


def main() -> Iterator[Row]:
    """Measure."""
    many = rates(MANY, FLOOR)
    for mode in (1, 2, 3):
        yield many.row(f"{MANY.name}, mode {mode}", f"mode {mode}", FLOOR, "/s", 2.0, less=False)
    single = rates(SINGLE, PING_PONG)
    single.figures = {
        name: [1e6 / rate for rate in rates] for name, rates in single.figures.items()
    }
    for mode in (1, 2, 3):
        yield single.row(f"{SINGLE.name}, mode {mode}", f"mode {mode}", PING_PONG, "us", 0.4)
    large = rates(LARGE, FLOOR)
    large.figures["Swoole, recorded"] = [SWOOLE_100_KB] * len(large.figures[FLOOR])
    for mode in (1, 2, 3):
        what = f"{LARGE.name}, mode {mode}"
        yield large.row(what, f"mode {mode}", "Swoole, recorded", "/s", 1.5, less=False)
        yield large.row(what, f"mode {mode}", FLOOR, "/s", less=False)

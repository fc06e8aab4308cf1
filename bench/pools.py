"""Tasks beside the pools of the standard library: one process that runs them, 100 bytes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

from ipckit.cli.bench.rounds import Rounds, Row, in_a_process
from ipckit.cli.bench.yardsticks import server_tasks

DATA = "x" * 100
FORK = get_context("fork")


def ok(_data: str) -> str:
    """Be the task."""
    return "ok"


def rate(
    submit: Callable[[], Any], wait: Callable[[Any], object], tasks: int, window: int
) -> float:
    """Return tasks per second with so many in flight."""
    wait(submit())
    began = time.perf_counter()
    out = deque(submit() for _ in range(window))
    for _ in range(tasks - window):
        wait(out.popleft())
        out.append(submit())
    for each in out:
        wait(each)
    return tasks / (time.perf_counter() - began)


def executor(tasks: int, window: int) -> float:
    """ProcessPoolExecutor."""
    with ProcessPoolExecutor(1, FORK) as pool:
        return rate(lambda: pool.submit(ok, DATA), lambda each: each.result(), tasks, window)


def pool(tasks: int, window: int) -> float:
    """multiprocessing.Pool."""
    with FORK.Pool(1) as made:
        return rate(lambda: made.apply_async(ok, (DATA,)), lambda each: each.get(), tasks, window)


def main() -> Iterator[Row]:
    """Measure."""
    for window, ours, theirs in ((32, 60_000, 5000), (1, 10_000, 1000)):
        found = Rounds(
            {
                "ours": partial(in_a_process, partial(server_tasks, ours, window, DATA)),
                "multiprocessing.Pool": partial(pool, theirs, window),
                "ProcessPoolExecutor": partial(executor, theirs, window),
            }
        )
        for peer in ("multiprocessing.Pool", "ProcessPoolExecutor"):
            yield found.row(f"tasks, {window} in flight", "ours", peer, "/s", less=False)

"""Measure several things in turn, so that noise of the machine hits all; medians."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

__all__ = ["in_a_process", "medians"]

ROUNDS = 5


def medians(runs: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Return the median figure of each, measured `ROUNDS` times in turn."""
    figures: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            figures[name].append(run())
    return {name: statistics.median(values) for name, values in figures.items()}


def in_a_process(run: Callable[[Callable[[float], None]], None]) -> float:
    """Run it in a process of its own; return what it reports."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        run(lambda figure: os.write(writing, repr(figure).encode()) and None)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        figure = float(pipe.read())
    os.waitpid(pid, 0)
    return figure

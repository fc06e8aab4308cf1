"""Measure in turn, so that noise of the machine hits all; medians; rows of a table."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from time import perf_counter_ns
from typing import NamedTuple

__all__ = ["Row", "in_a_process", "medians", "nanoseconds", "shown"]

ROUNDS = 5
NOISE = 0.15


class Row(NamedTuple):
    """One line of the table: a figure of ours beside another's of the same run."""

    what: str
    ours: float
    peer: float
    unit: str
    goal: float | None = None  # of the ratio ours / peer
    less: bool = True  # is better

    @property
    def ratio(self) -> float:
        """Return ours / peer."""
        return self.ours / self.peer

    @property
    def verdict(self) -> str:
        """Say whether the goal is reached; the machine's noise is allowed for."""
        if self.goal is None:
            return ""
        if self.ratio <= self.goal if self.less else self.ratio >= self.goal:
            return "reached"
        near = self.goal * (1 + NOISE) if self.less else self.goal * (1 - NOISE)
        return "within noise" if (self.ratio <= near) == self.less else "missed"

    def line(self) -> str:
        """Return it for a terminal."""
        goal = "" if self.goal is None else f"   goal {self.goal:.2f}: {self.verdict}"
        return (
            f"{self.what:44} {self.ours:14,.0f} {self.unit:9} {self.ratio:6.2f} of "
            f"{self.peer:,.0f}{goal}"
        )


def shown(rows: list[Row]) -> list[Row]:
    """Print them and return them."""
    for row in rows:
        print(row.line(), flush=True)
    return rows


def medians(runs: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Return the median figure of each, measured `ROUNDS` times in turn."""
    figures: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            figures[name].append(run())
    return {name: statistics.median(values) for name, values in figures.items()}


def nanoseconds(loops: dict[str, Callable[[int], None]], calls: int) -> dict[str, float]:
    """Return ns for one turn of each loop, measured in turn, less that of "loop"."""

    def timed(loop: Callable[[int], None]) -> Callable[[], float]:
        def run() -> float:
            began = perf_counter_ns()
            loop(calls)
            return (perf_counter_ns() - began) / calls

        return run

    for loop in loops.values():
        loop(calls // 10)  # warm up
    found = medians({name: timed(loop) for name, loop in loops.items()})
    empty = found.pop("loop", 0.0)
    return {name: value - empty for name, value in found.items()}


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

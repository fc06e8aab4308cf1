"""Figures that can be compared: measured in turn, in one run, with the ratio of each pair.

A machine's speed drifts, and others use it; so A and B alternate, the first round is thrown away,
and a ratio is the median of the ratios of neighbours, not the ratio of two medians.

Used by   `ipckit bench`, and bench/ of the project.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Any, NamedTuple

__all__ = ["NOISE", "ROUNDS", "Rounds", "Row", "in_a_process", "limited", "shown", "timed"]

ROUNDS = 5
NOISE = 0.15
"""Two runs of one program differ by so much on a shared machine."""


class Row(NamedTuple):
    """One line of a table: a figure of ours beside another one of the same run."""

    what: str
    ours: float
    beside: str
    theirs: float
    unit: str
    ratio: float  # ours / theirs
    goal: float | None = None  # of the ratio
    less: bool = True  # is better

    @property
    def verdict(self) -> str:
        """Whether the goal is reached, within the machine's noise, or missed; "" without one."""
        if self.goal is None:
            return ""
        if self.ratio <= self.goal if self.less else self.ratio >= self.goal:
            return "reached"
        near = self.goal * (1 + NOISE) if self.less else self.goal * (1 - NOISE)
        return "within noise" if (self.ratio <= near) == self.less else "missed"

    def line(self) -> str:
        """Return it for a terminal."""
        bound = "most" if self.less else "least"
        goal = "" if self.goal is None else f"  goal: at {bound} {self.goal:g}, {self.verdict}"
        return (
            f"{self.what:46} {figure(self.ours):>9} {self.unit:5} {self.ratio:7.2f} of "
            f"{figure(self.theirs)} {self.beside}{goal}"
        )


class Rounds:
    """Named figures, measured in turn."""

    def __init__(self, runs: dict[str, Callable[[], float]], rounds: int = ROUNDS) -> None:
        self.figures: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(rounds + 1):  # the first warms up
            for name, run in runs.items():
                value = run()
                if number:
                    self.figures[name].append(value)

    def median(self, name: str) -> float:
        """Return the median of a figure."""
        return statistics.median(self.figures[name])

    def ratio(self, ours: str, theirs: str) -> float:
        """Return the median of the ratios, round by round."""
        pairs = zip(self.figures[ours], self.figures[theirs], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def less(self, empty: str) -> Rounds:
        """Take the figure of an empty loop off all others, round by round."""
        taken = self.figures.pop(empty)
        for name, values in self.figures.items():
            self.figures[name] = [a - b for a, b in zip(values, taken, strict=True)]
        return self

    def row(
        self,
        what: str,
        ours: str,
        theirs: str,
        unit: str,
        goal: float | None = None,
        *,
        less: bool = True,
    ) -> Row:
        """Return a row of two of the figures."""
        ratio = self.ratio(ours, theirs)
        return Row(what, self.median(ours), theirs, self.median(theirs), unit, ratio, goal, less)


def limited(what: str, ours: float, limit: float, unit: str, *, less: bool = True) -> Row:
    """Return a row of a figure beside a limit that was set."""
    return Row(what, ours, "the limit", limit, unit, ours / limit, 1.0, less)


def timed(loop: Callable[[int], object], calls: int) -> Callable[[], float]:
    """Return what measures the ns of one turn of a loop that makes so many."""

    def run() -> float:
        began = perf_counter_ns()
        loop(calls)
        return (perf_counter_ns() - began) / calls

    return run


def shown(rows: Iterable[Row]) -> list[Row]:
    """Print them and return them."""
    rows = list(rows)
    for row in rows:
        print(row.line(), flush=True)
    return rows


def in_a_process(run: Callable[[Callable[[float], Any]], None]) -> float:
    """Run it in a process of its own; return what it reports."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        run(lambda value: os.write(writing, repr(float(value)).encode()))
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        value = float(pipe.read())
    os.waitpid(pid, 0)
    return value


def figure(value: float) -> str:
    """Return a number as a person reads it: three digits that count, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"

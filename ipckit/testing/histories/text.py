"""Histories and verdicts as text.

Pure.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from ipckit.testing.histories.operation import Event, Operation

WIDEST = 44  # characters of a lane


class Drawn(Protocol):
    """What is drawn: a `History`."""

    @property
    def operations(self) -> Sequence[Operation]:
        """Its operations, in order of their calls."""

    @property
    def events(self) -> Sequence[Event]:
        """What happened to its processes."""

    @property
    def processes(self) -> list[int]:
        """Every process of it."""


class Explained(Protocol):
    """What is explained: a `Verdict`."""

    @property
    def part(self) -> Hashable:
        """The part of the object that it is about."""

    @property
    def counter_example(self) -> Drawn | None:
        """The history that cannot be, if there is one."""

    @property
    def order(self) -> Sequence[Operation]:
        """The longest order that was possible."""

    @property
    def unplaced(self) -> Operation | None:
        """The operation that fits nowhere after that."""

    @property
    def expected(self) -> Sequence[Any]:
        """What the model would have answered there."""


def timeline(history: Drawn) -> str:
    """Draw a lane for each process, a line for each moment; microseconds since the first call."""
    lanes = history.processes
    moments: list[tuple[int, int, int, str]] = []  # when, order at one moment, lane, what
    for each in history.operations:
        call, _, answer = str(each).rpartition(" -> ")
        moments.append((each.called, 0, each.process, f"┌ {call}"))
        moments.append((each.returned, 2, each.process, f"└ {answer}"))
    moments += [(event.time, 1, event.process, f"! {event.kind}") for event in history.events]
    if not moments:
        return "(nothing happened)"
    moments.sort(key=lambda each: each[:3])
    start = moments[0][0]
    width = {
        lane: min(WIDEST, max(len(what) for _, _, of, what in moments if of == lane))
        for lane in lanes
    }
    width = {lane: max(size, len(f"process {lane}")) for lane, size in width.items()}
    lines = ["".join([f"{'us':>9}  ", *(f"{f'process {x}':<{width[x] + 2}}" for x in lanes)])]
    under_way: set[int] = set()
    for when, order, lane, what in moments:
        cells = []
        for of in lanes:
            text = what if of == lane else "│" if of in under_way else ""
            cells.append(f"{_cut(text, width[of]):<{width[of] + 2}}")
        lines.append(f"{(when - start) / 1000:>9.1f}  " + "".join(cells))
        if order == 0:
            under_way.add(lane)
        elif order == 2:
            under_way.discard(lane)
    return "\n".join(line.rstrip() for line in lines)


def explain(verdict: Explained) -> str:
    """Tell the counter-example of a verdict."""
    assert verdict.counter_example is not None
    lines = [
        f"not linearizable: {size(verdict.counter_example)}"
        + ("" if verdict.part is None else f" on part {verdict.part!r}"),
        "",
        timeline(verdict.counter_example),
        "",
        "The longest order that could have been:",
        *_numbered(verdict.order),
    ]
    if verdict.unplaced is not None:
        lines.append(
            f"Fits nowhere after that: process {verdict.unplaced.process}, {verdict.unplaced}"
        )
        if verdict.expected:
            allowed = " or ".join(sorted({repr(each) for each in verdict.expected}))
            lines.append(f"The model would have answered {allowed}.")
    return "\n".join(lines)


def size(history: Drawn) -> str:
    """Say how many processes and operations it has."""
    return f"{len(history.processes)} processes, {len(history.operations)} operations"


def _numbered(order: Sequence[Operation]) -> list[str]:
    if not order:
        return ["  (none can be first)"]
    return [f"  {i}. process {each.process}, {each}" for i, each in enumerate(order, 1)]


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1] + "…"

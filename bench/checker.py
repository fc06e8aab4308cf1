"""The judge of histories, on histories that are legal by construction: seconds for each."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from ipckit.cli.bench.rounds import Row, limited
from ipckit.testing import History, Model, Operation, check
from ipckit.testing.judging.checker import answers
from ipckit.testing.models import Dict, FifoQueue, Register

ROUNDS = 5
Draw = Callable[[random.Random, int], tuple[str, dict[str, Any]]]


def legal_history(model: Model, count: int, processes: int, draw: Draw) -> History:
    """Draw operations with a moment of effect each; the model gives their results in that order."""
    chance = random.Random(1)
    clocks = [0] * processes
    drawn = []
    for number in range(count):
        process = chance.randrange(processes)
        called = clocks[process] + chance.randint(1, 5)
        effect = called + chance.randint(0, 20)
        returned = effect + chance.randint(0, 20)
        clocks[process] = returned + 1
        drawn.append((effect, number, process, called, returned, draw(chance, number)))
    states: dict[Any, Any] = {}
    operations = []
    for _, _, process, called, returned, (name, arguments) in sorted(
        drawn, key=lambda each: each[:2]
    ):
        asked = Operation(process, name, arguments, called, returned)
        part = model.partition(asked) if hasattr(model, "partition") else None
        state = states.get(part, model.init())
        states[part], result = answers(model.step, state, asked)[0]
        operations.append(Operation(process, name, arguments, called, returned, result))
    return History(operations)


def row(chance: random.Random, number: int) -> tuple[str, dict[str, Any]]:
    key = {"key": chance.randrange(16)}
    name = chance.choice(["get", "set", "pop"])
    return name, {**key, "value": number} if name == "set" else key


def cell(chance: random.Random, _number: int) -> tuple[str, dict[str, Any]]:
    return ("read", {}) if chance.random() < 0.5 else ("write", {"value": chance.randrange(5)})


def item(chance: random.Random, number: int) -> tuple[str, dict[str, Any]]:
    return ("get", {}) if chance.random() < 0.5 else ("put", {"value": number})


def main() -> Iterator[Row]:
    """Measure; the goals are those of docs/design/proof.md."""
    for name, model, count, processes, draw, goal in (
        ("10,000 operations, 16 keys, 8 processes", Dict(), 10_000, 8, row, 1.0),
        ("4,000 operations, one register, 4 processes", Register(), 4000, 4, cell, 0.5),
        ("4,000 operations, one queue, 4 processes", FifoQueue(), 4000, 4, item, 0.5),
    ):
        history = legal_history(model, count, processes, draw)
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            assert check(history, model).linearizable
            times.append(time.perf_counter() - began)
        yield limited(f"judging {name}", statistics.median(times), goal, "s")

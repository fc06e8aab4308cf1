"""Could what the processes saw have happened one operation at a time? The judge of histories.

Contract  `check(history, model)` looks for an order of all operations in which each is placed
          between its call and its return, and gives the result that the model gives there. A cut
          operation may be placed before its process was seen to be dead, or left out (strict
          linearizability). The history is split by the model's `partition`, if it has one.
          The answer is one of four; `unknown` says that the time was up, and is not a pass.
          Finding out is NP-hard in general: the search is exponential only in how many operations
          of one part were under way at once.
Pure, except the clock that ends the search.
Source    J. Wing and C. Gong, Testing and Verifying Concurrent Objects, 1993; G. Lowe, Testing for
          linearizability, 2017 (the memo); A. Horn and D. Kroening, Faster linearizability checking
          via P-compositionality, 2015 (the split).
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from ipckit.testing.errors import MachineError
from ipckit.testing.histories.history import History
from ipckit.testing.histories.operation import UNDER_WAY, Operation
from ipckit.testing.histories.text import explain
from ipckit.testing.histories.values import Raised, frozen, same

Outcome = Literal["linearizable", "not_linearizable", "unknown", "vacuous"]
STEPS_BETWEEN_CLOCKS = 256


class Model(Protocol):
    """What a sequential object would do.

    `init()` gives the first state; `step(state, operation)` gives ``(state, result)`` and changes
    neither its arguments; a list of such pairs where several are right; what it raises is the
    result, and leaves the state. Optional: `partition(operation)`, the part of the object that an
    operation is about (it never looks at others), and `monitor(operations)`, a quick judge of one
    part: True, False, or None for "search".
    """

    def init(self) -> Any:
        """Give the state before the first operation."""

    def step(self, state: Any, operation: Operation) -> Any:
        """Give the state after `operation`, and its result; raises what the object would."""


@dataclass(frozen=True)
class Verdict:
    """What `check()` found: `outcome`, also as four booleans; true only when linearizable.

    When not: `counter_example` is the shortest beginning of one part that cannot be, with the
    calls then under way; `order` the longest order that was possible in it; `unplaced` the
    operation that fits nowhere after that, and `expected` what the model would have answered
    there. `part` is the part's name.
    `overlaps` counts the pairs of one part that were under way at once.
    """

    outcome: Outcome
    overlaps: int = 0
    part: Hashable = None
    counter_example: History | None = None
    order: tuple[Operation, ...] = ()
    unplaced: Operation | None = None
    expected: tuple[Any, ...] = ()

    @property
    def linearizable(self) -> bool:
        """A legal order was found for each part."""
        return self.outcome == "linearizable"

    @property
    def not_linearizable(self) -> bool:
        """There is none for the `part` named."""
        return self.outcome == "not_linearizable"

    @property
    def unknown(self) -> bool:
        """The time was up before the search was."""
        return self.outcome == "unknown"

    @property
    def vacuous(self) -> bool:
        """Nothing overlapped, so nothing was shown."""
        return self.outcome == "vacuous"

    def __bool__(self) -> bool:
        """Whether it is a pass."""
        return self.linearizable

    def __str__(self) -> str:
        """Say it in a line, or with the counter-example."""
        if self.counter_example is None:
            return self.outcome.replace("_", " ")
        return explain(self)


def check(
    history: History,
    model: Model,
    *,
    timeout: float = 10.0,
    overlap: bool = False,
) -> Verdict:
    """Judge a history by a sequential model.

    `timeout` bounds the search, in seconds. With `overlap`, a history of several processes in
    which no two operations of one part overlapped is `vacuous`: it would be legal for any object
    that works alone. Blocks for at most about `timeout`; changes nothing. What the model raises is
    the operation's result, so a mistake in the model shows as a result that fits nowhere; but a
    ready-made model that does not know an operation, or its arguments, raises MachineError.
    TypeError: `history` or `model` is something else.
    """
    if not isinstance(history, History):
        raise TypeError(f"history={history!r}: must be a History; History(operations) makes one")
    if not callable(getattr(model, "init", None)) or not callable(getattr(model, "step", None)):
        raise TypeError(
            f"model={model!r}: must have init() and step(state, operation), as those of "
            f"ipckit.testing.models have"
        )
    deadline = time.monotonic() + timeout
    parts = split(history, model)
    overlaps = sum(count_overlaps(part) for part in parts.values())
    unknown = False
    for name, operations in parts.items():
        found = _judge(operations, model, deadline)
        unknown |= found is None
        if found is False:
            return _explained(name, operations, model, deadline, overlaps, history)
    if unknown:
        return Verdict("unknown", overlaps)
    if overlap and not overlaps:
        return Verdict("vacuous")
    return Verdict("linearizable", overlaps)


def split(history: History, model: Model) -> dict[Hashable, list[Operation]]:
    """Give the operations of each part, in order of their calls."""
    partition = getattr(model, "partition", None)
    parts: dict[Hashable, list[Operation]] = {}
    for operation in history:
        name = frozen(partition(operation)) if partition else None
        parts.setdefault(name, []).append(operation)
    return parts


def count_overlaps(operations: Sequence[Operation]) -> int:
    """Count the pairs of different processes that were under way at once."""
    count = 0
    under_way: list[Operation] = []
    for operation in operations:
        under_way = [each for each in under_way if each.returned >= operation.called]
        count += sum(each.process != operation.process for each in under_way)
        under_way.append(operation)
    return count


def beginning(operations: Iterable[Operation], moment: int) -> list[Operation]:
    """Give what was called up to a moment; what had not returned by then is as if cut."""
    return [
        each
        if each.returned <= moment
        else replace(each, cut=True, result=each.result if each.cut else UNDER_WAY)
        for each in operations
        if each.called <= moment
    ]


def _judge(operations: list[Operation], model: Model, deadline: float) -> bool | None:
    monitor = getattr(model, "monitor", None)
    answer = monitor(operations) if monitor else None
    if answer is not None:
        return bool(answer)
    return _Search(operations, model, deadline).run()


def _explained(
    name: Hashable,
    operations: list[Operation],
    model: Model,
    deadline: float,
    overlaps: int,
    history: History,
) -> Verdict:
    """Find the shortest beginning that cannot be: what cannot begin so cannot go on so."""
    moments = sorted(each.returned for each in operations if not each.cut)
    low, high = 0, len(moments) - 1
    while low < high:
        middle = (low + high) // 2
        if _judge(beginning(operations, moments[middle]), model, deadline) is False:
            high = middle
        else:
            low = middle + 1
    shortest = beginning(operations, moments[high])
    search = _Search(shortest, model, deadline)
    search.run()
    placed = {id(each) for each in search.longest}
    last = [each for each in shortest if not each.cut and id(each) not in placed]
    unplaced = min(last, key=lambda each: each.returned) if last else None
    expected = [] if unplaced is None else answers(model.step, search.state, unplaced)
    return Verdict(
        "not_linearizable",
        overlaps,
        name,
        History(shortest, [each for each in history.events if each.time <= moments[high]]),
        tuple(search.longest),
        unplaced,
        tuple(result for _, result in expected),
    )


class _Search:
    """One search for a legal order of the operations of one part.

    A node is (base, mask, state): the operations before `base` are placed or given up, those of
    `mask` too (bit i: the operation base + i). As the operations are in order of their calls, the
    mask is as wide as operations overlap, not as the history is long. A node seen before is not
    entered again: what can follow depends on it alone.
    """

    def __init__(self, operations: list[Operation], model: Model, deadline: float) -> None:
        self.operations = operations
        self.step = model.step
        self.first = model.init()
        self.deadline = deadline
        self.longest: list[Operation] = []
        self.state = self.first  # after the longest
        self.calls = [each.called for each in operations]
        self.ends = [each.returned for each in operations]
        self.optional = [each.cut for each in operations]
        required = [index for index, each in enumerate(operations) if not each.cut]
        self.last_required = required[-1] if required else -1

    def run(self) -> bool | None:
        """Look for an order. None: the time is up."""
        base, mask = self._settle(0, 0, -1)
        state, last = self.first, -1
        if self._all_required_done(base, mask):
            return True
        seen = {(base, mask, frozen(state))}
        # Each level: where it is, and what is still to be tried there.
        levels = [(base, mask, last, self._next_steps(base, mask, state))]
        path: list[Operation] = []
        steps = 0
        while levels:
            base, mask, last, choices = levels[-1]
            steps += 1
            if steps % STEPS_BETWEEN_CLOCKS == 0 and time.monotonic() > self.deadline:
                return None
            chosen = next(choices, None)
            if chosen is None:
                levels.pop()
                if path:
                    path.pop()
                continue
            index, state = chosen
            new_last = max(last, index)
            new_base, new_mask = self._settle(base, mask | 1 << (index - base), new_last)
            node = (new_base, new_mask, frozen(state))
            if node in seen:
                continue
            seen.add(node)
            path.append(self.operations[index])
            if len(path) > len(self.longest):
                self.longest, self.state = list(path), state
            if self._all_required_done(new_base, new_mask):
                return True
            levels.append(
                (
                    new_base,
                    new_mask,
                    new_last,
                    self._next_steps(new_base, new_mask, state),
                )
            )
        return False

    def _settle(self, base: int, mask: int, last: int) -> tuple[int, int]:
        """Give up what was cut before the call of the last placed one, and move `base` up."""
        if last >= 0:
            call = self.calls[last]
            index = base
            while index < last:
                if self.optional[index] and self.ends[index] < call:
                    mask |= 1 << (index - base)
                index += 1
        while mask & 1:
            mask >>= 1
            base += 1
        return base, mask

    def _all_required_done(self, base: int, mask: int) -> bool:
        if self.last_required >= base + mask.bit_length():
            return False
        return all(
            self.optional[base + bit] or mask >> bit & 1
            for bit in range(self.last_required - base + 1)
        )

    def _next_steps(self, base: int, mask: int, state: Any) -> Any:
        """Go through the operations that may come next with the result they had, and the states."""
        horizon = None
        for index in range(base, len(self.operations)):
            done = mask & 1
            mask >>= 1
            if horizon is not None and self.calls[index] > horizon:
                return
            if done:
                continue
            if not self.optional[index] and (horizon is None or self.ends[index] < horizon):
                horizon = self.ends[index]
            operation = self.operations[index]
            for new_state, result in answers(self.step, state, operation):
                if operation.cut or same(result, operation.result):
                    yield index, new_state


def answers(step: Any, state: Any, operation: Operation) -> list[tuple[Any, Any]]:
    """Give each (state, result) that a model allows."""
    try:
        answer = step(state, operation)
    except MachineError:
        raise
    except Exception as error:
        return [(state, Raised.of(error))]
    return answer if isinstance(answer, list) else [answer]

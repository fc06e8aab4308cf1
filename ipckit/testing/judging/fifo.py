"""Judges that need no search: queues whose values are unique.

Contract  `fifo_possible(operations, empty)` says in O(n log n) whether the ``put(value)`` and
          ``get()`` of an unbounded first-in-first-out queue can be put in order. It gives None,
          for "search", when values are not unique, a get was cut, or there are other operations.
Pure.
Source    T. Henzinger, A. Sezgin, V. Vafeiadis, Aspect-oriented linearizability proofs, 2013: a
          history is legal unless a value is taken that was not put, taken twice, overtaken by a
          later one, or the queue is called empty while some value was in it all the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ipckit.testing.histories.operation import Operation
from ipckit.testing.histories.values import Raised, frozen, same

NEVER = 1 << 63


def fifo_possible(operations: Sequence[Operation], empty: Any) -> bool | None:
    """Judge puts and gets of one queue; `empty` is a get's answer when there is nothing."""
    puts: dict[Any, Operation] = {}
    gets: dict[Any, Operation] = {}
    empties: list[Operation] = []
    cut_puts: dict[Any, Operation] = {}
    for each in operations:
        if each.name != "put":
            continue
        if set(each.arguments) != {"value"} or not (each.cut or each.result is None):
            return None
        value = frozen(each.arguments["value"])
        if value in puts or value in cut_puts:
            return None
        (cut_puts if each.cut else puts)[value] = each
    for each in operations:
        if each.name == "put":
            continue
        if each.name != "get" or each.cut:
            return None
        if same(each.result, empty):
            empties.append(each)
            continue
        value = frozen(each.result)
        if isinstance(each.result, Raised):
            return None
        if value in gets:
            return False  # taken twice
        gets[value] = each
    for value, get in gets.items():
        if value in cut_puts:  # it was taken, so it was put
            puts[value] = cut_puts[value]
        if value not in puts or get.returned < puts[value].called:
            return False  # from nowhere
    return not _overtaken(puts, gets) and not _wrongly_empty(puts, gets, empties)


def _overtaken(puts: dict[Any, Operation], gets: dict[Any, Operation]) -> bool:
    """Whether some b is put wholly after a, and taken wholly before a is (or a never is)."""
    by_return = sorted(puts, key=lambda value: puts[value].returned)
    by_call = sorted(puts, key=lambda value: puts[value].called)
    latest = -1  # the last moment at which one of those put before is begun to be taken
    at = 0
    for value in by_call:
        while at < len(by_return) and puts[by_return[at]].returned < puts[value].called:
            get = gets.get(by_return[at])
            latest = max(latest, get.called if get else NEVER)
            at += 1
        if value in gets and gets[value].returned < latest:
            return True
    return False


def _wrongly_empty(
    puts: dict[Any, Operation], gets: dict[Any, Operation], empties: list[Operation]
) -> bool:
    """Whether a get found nothing although at each moment of it some value was surely inside."""
    inside = sorted(
        (put.returned, gets[value].called if value in gets else NEVER)
        for value, put in puts.items()
        if value not in gets or put.returned < gets[value].called
    )
    merged: list[tuple[int, int]] = []
    for start, end in inside:
        # Open intervals: at both ends the value may be out.
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    at = 0
    for get in sorted(empties, key=lambda each: each.called):
        while at < len(merged) and merged[at][1] <= get.called:
            at += 1
        if at < len(merged) and merged[at][0] < get.called and get.returned < merged[at][1]:
            return True
    return False

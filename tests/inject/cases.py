"""Which failures there are, and which of them a run takes. Pure.

recording: (way, role, call, kind) -> how often     ERRNOS: (call, kind) -> errnos
    cases: each way, role, call, errno, n from 1 to how often
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from inject.configurations import START, STOP
from inject.errnos import ERRNOS, NEVER

__all__ = ["Case", "Recording", "chunks", "every", "sample", "unknown"]


class Case(NamedTuple):
    """One failure: the nth such call of that role on that way."""

    way: str
    role: int
    call: str
    kind: str
    error: int
    nth: int

    def __str__(self) -> str:
        if not self.call:
            return f"{self.way}: at the end of the lane"
        what = f"{self.call}({self.kind})" if self.kind else self.call
        return f"{self.way}: {what} #{self.nth} of role {self.role} {errno.errorcode[self.error]}"

    @property
    def stratum(self) -> tuple[str, int, str, str, int]:
        return self[:5]


Recording = dict[tuple[str, int, str, str], int]


def every(recorded: Recording) -> list[Case]:
    """Return all cases of a recording, those of one stratum beside each other."""
    return [
        Case(way, role, call, kind, getattr(errno, name), nth)
        for (way, role, call, kind), times in sorted(recorded.items())
        for name in ERRNOS.get((call, kind), "").split()
        for nth in range(1, times + 1)
    ]


def sample(cases: Iterable[Case], size: int) -> list[Case]:
    """Return about `size` of them, the same ones each time.

    Every stratum (way, role, call, errno) has its first, then its last, its middle, and so on, as
    far as the size allows; so a small sample has as many strata as it can.
    """
    strata: dict[tuple, list[Case]] = defaultdict(list)
    for case in cases:
        strata[case.stratum].append(case)
    queues = [_spread(found) for found in strata.values()]
    chosen: list[Case] = []
    for turn in range(max(map(len, queues), default=0)):
        layer = [queue[turn] for queue in queues if turn < len(queue)]
        room = size - len(chosen)
        if len(layer) > room:
            step = len(layer) / room if room else 1
            layer = [layer[int(at * step)] for at in range(room)]
        chosen += layer
        if len(chosen) >= size:
            break
    return sorted(chosen)


def _spread(found: list[Case]) -> list[Case]:
    """Return them in an order whose every beginning is spread over all: first, last, halves."""
    order, seen = [], set()
    parts = 1
    while len(order) < len(found):
        for part in range(parts + 1):
            at = (len(found) - 1) * part // parts
            if at not in seen:
                seen.add(at)
                order.append(found[at])
        parts *= 2
    return order


def chunks(cases: Iterable[Case], size: int) -> list[list[Case]]:
    """Return them in lists of that size, each for one lane, those of a stratum beside each other.

    Cases of the start and of the stop alternate: a server that has started is there to be stopped.
    """
    starts: list[Case] = []
    stops: list[Case] = []
    rest: list[Case] = []
    for case in cases:
        {START: starts, STOP: stops}.get(case.way, rest).append(case)
    pairs = min(len(starts), len(stops))
    both = [case for pair in zip(starts[:pairs], stops[:pairs], strict=True) for case in pair]
    orders = (rest, both, starts[pairs:], stops[pairs:])
    return [order[at : at + size] for order in orders for at in range(0, len(order), size)]


def unknown(recorded: Recording) -> set[tuple[str, str]]:
    """Return the calls for which nobody has said with which errnos they fail."""
    calls = {call for call, _ in ERRNOS} | set(NEVER)
    return {(call, kind) for _, _, call, kind in recorded if call not in calls}

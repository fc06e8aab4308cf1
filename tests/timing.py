"""How long a call takes, on a machine whose load makes some calls late and never all."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

__all__ = ["soonest"]

TRIES = 5


def soonest(call: Callable[[], object]) -> float:
    """Return the seconds of the shortest of several calls: none was earlier, and one so soon."""
    took = []
    for _ in range(TRIES):
        began = monotonic()
        call()
        took.append(monotonic() - began)
    return min(took)

"""How long requests and tasks took: what the histogram in a process's row says. Pure.

A bucket is a quarter of a power of two of nanoseconds, from 1 microsecond to 73 minutes, so a
percentile is known to a quarter. `ipckit/_core/python/histogram.h` has the same bounds, and writes.

Stands on nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

__all__ = ["BUCKETS", "EVERY", "Percentiles", "percentiles", "upper_bound"]

BUCKETS = 128
EVERY = 7
"""One request in so many is timed, the first of each process among them; of tasks all are."""


class Percentiles(NamedTuple):
    """Seconds; that many of the hundred took no longer. None: nothing was timed."""

    p50: float | None
    p90: float | None
    p99: float | None


def upper_bound(bucket: int) -> float:
    """Return the seconds below which the times of a bucket lie; of the last one, infinity."""
    if bucket >= BUCKETS - 1:
        return float("inf")
    power, quarter = divmod(bucket + 1, 4)
    return ((4 + quarter) << (power + 8)) / 1e9


def percentiles(counts: Sequence[int]) -> Percentiles:
    """Return the upper bounds of the buckets that the percentiles fall into.

    What lies in the open last bucket is given as its lower bound.
    """
    return Percentiles(*(_percentile(counts, share) for share in (50, 90, 99)))


def _percentile(counts: Sequence[int], share: int) -> float | None:
    total = sum(counts)
    if not total:
        return None
    wanted = -(-total * share // 100)  # rounded up: so many took no longer
    so_far = accumulate(counts)
    bucket = next(bucket for bucket, number in enumerate(so_far) if number >= wanted)
    return upper_bound(min(bucket, BUCKETS - 2))

"""Histograms of times: the C writer and the Python reader have the same bounds."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
from hypothesis import given

from ipckit.server.shared.histogram import BUCKETS, percentiles, upper_bound

TIMES = st.integers(1, 1 << 43)


def bucket_of(ns: int) -> int:
    """The bucket of a time by the bounds alone."""
    return next(bucket for bucket in range(BUCKETS) if ns / 1e9 < upper_bound(bucket))


def counted(times) -> list[int]:
    counts = [0] * BUCKETS
    for ns in times:
        counts[bucket_of(ns)] += 1
    return counts


def test_bounds_grow_by_a_quarter_at_most():
    bounds = [upper_bound(bucket) for bucket in range(BUCKETS)]
    assert bounds[0] == 1280e-9 and bounds[-1] == float("inf")
    assert bounds[-2] == (7 << 39) / 1e9
    for before, after in pairwise(bounds[:-1]):
        assert before < after <= before * 1.25


@given(st.lists(TIMES, min_size=1, max_size=200))
def test_a_percentile_is_known_to_a_quarter(times):
    ordered = sorted(times)
    for share, found in zip((50, 90, 99), percentiles(counted(times)), strict=True):
        true = ordered[-(-len(ordered) * share // 100) - 1] / 1e9
        assert found is not None
        if 1024e-9 <= true < upper_bound(BUCKETS - 2):
            assert true < found <= true * 1.25 * (1 + 1e-9)
        else:
            assert found in (upper_bound(0), upper_bound(BUCKETS - 2))


def test_without_times_there_are_none():
    assert percentiles([0] * BUCKETS) == (None, None, None)

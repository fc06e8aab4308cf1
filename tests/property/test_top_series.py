"""What `ipckit top` makes of the counts of a server."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ipckit.cli.top.series import (
    Moment,
    Series,
    bar,
    count,
    duration,
    fitting,
    is_short,
    rate,
    size,
    sparkline,
)
from ipckit.server.shared.histogram import BUCKETS, upper_bound

SECONDS = st.floats(0, 999 * 86400)


def moment(at, requests=0, tasks=0, queued=0, bucket=None, times=0, by_worker=None):
    counts = [0] * BUCKETS
    if bucket is not None:
        counts[bucket] = times
    return Moment(at, requests, tasks, queued, counts, counts, by_worker or {})


@given(st.lists(st.tuples(st.floats(0.1, 10), st.integers(0, 1000)), min_size=1, max_size=60))
def test_rates_times_seconds_are_what_was_counted(steps):
    series, at, count = Series(), 0.0, 7
    series.add(moment(at, requests=count))
    for seconds, more in steps:
        at, count = at + seconds, count + more
        series.add(moment(at, requests=count))
    found = series.rates("requests")
    assert len(found) == len(steps)
    assert sum(r * s for r, (s, _) in zip(found, steps, strict=True)) == pytest.approx(count - 7)


def test_a_count_that_shrinks_is_another_servers():
    assert rate(100, 40, 2) == 20
    assert rate(100, 140, 2) == 20
    assert rate(100, 140, 0) == 0


def test_a_workers_rates_are_of_the_last_step():
    series = Series()
    assert series.of_worker(1) == (0, 0)
    for at, requests, tasks in ((0, 0, 0), (1, 100, 0), (3, 120, 10)):
        series.add(moment(at, by_worker={1: (requests, tasks)}))
    assert series.of_worker(1) == (10, 5)
    assert series.of_worker(2) == (0, 0)


def test_percentiles_are_those_of_late():
    series = Series()
    assert series.percentiles("task_times") == (None, None, None)
    series.add(moment(0, bucket=40, times=1000))
    assert series.percentiles("task_times").p50 == upper_bound(40), "nothing of late: of its life"
    late = moment(1, bucket=40, times=1000)
    late.task_times[80] = 10
    series.add(late)
    assert series.percentiles("task_times") == (upper_bound(80),) * 3


def test_no_more_than_a_minute_of_steps_is_kept():
    series = Series()
    for at in range(200):
        series.add(moment(at, requests=at * at, queued=at))
    assert len(series.rates("requests")) == 60
    assert series.depths()[-1] == 199


@pytest.mark.parametrize(
    ("needed", "able", "waiting", "short"),
    [(2.1, 2, 1, True), (2.0, 2, 1, False), (9.0, 2, 0, False), (0.1, 0, 5, True)],
)
def test_the_rule_of_shortage(needed, able, waiting, short):
    assert is_short(needed, able, waiting) is short


@given(st.lists(st.floats(0, 1e9), max_size=80), st.integers(0, 60))
def test_a_line_has_its_width_and_shows_all_that_is_more_than_nothing(values, width):
    line = sparkline(values, width)
    assert len(line) == width
    shown = values[len(values) - min(width, len(values)) :]
    for value, mark in zip(reversed(shown), reversed(line), strict=False):
        assert (mark == " ") == (value == 0)
    if any(shown):
        assert "█" in line


def test_a_line_tells_high_from_low():
    assert sparkline([0, 1, 4, 8], 6) == "   ▂▅█"


@given(st.floats(-1, 2), st.integers(1, 40))
def test_a_bar_has_its_width(share, width):
    shown = bar(share, width)
    assert len(shown) == width
    assert shown.count("█") == round(min(max(share, 0), 1) * width)


@given(SECONDS)
def test_a_time_is_short(seconds):
    assert len(duration(seconds)) <= 8


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.000012, "12 µs"),
        (0.0213, "21.3 ms"),
        (3.21, "3.2 s"),
        (125, "2m 05s"),
        (7505, "2h 05m"),
        (900000, "10d 10h"),
    ],
)
def test_times_in_words(seconds, text):
    assert duration(seconds) == text


def test_bytes_in_words():
    assert [size(n) for n in (0, 1023, 1536, 24 << 20, 3 << 40)] == [
        "0 B", "1023 B", "1.5 KiB", "24.0 MiB", "3072 GiB"
    ]  # fmt: skip


COLUMNS = (("worker", 6), ("role", 11), ("doing", 25), ("in all", 10), ("memory", 9))


@given(st.integers(0, 120))
def test_the_columns_that_are_shown_fit(width):
    """R-top-80: what is left out is what may be, and only where there is no room for it."""
    least, order = {"doing": 17, "role": 6}, ("in all", "memory", "doing", "role")
    shown = fitting(COLUMNS, least, order, width)
    assert [name for name, _ in shown] == [name for name, _ in COLUMNS if name in dict(shown)]
    assert {"worker", "role", "doing"} <= set(dict(shown))
    taken = sum(each + 2 for _, each in shown)
    assert taken <= width or shown == [("worker", 6), ("role", 6), ("doing", 17)]
    if taken <= width - 12:
        assert shown == list(COLUMNS), "nothing gave way in vain"


@given(st.floats(0, 9e11))
def test_a_count_is_short(number):
    assert len(count(number)) <= 4
    unit = {"k": 1e3, "M": 1e6, "G": 1e9}.get(count(number)[-1], 1)
    value = float(count(number).rstrip("kMG")) * unit
    assert abs(value - number) <= max(0.5, 0.06 * number)

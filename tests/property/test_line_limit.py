"""The limit of log lines: few of a kind, none hidden behind another kind, none lost in silence.

The invariants R1 to R4 of ipckit.server.line_limit, for any lines at any moments.
"""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ipckit.server.line_limit import BURST, KINDS, RATE, LineLimit

PAUSES = st.sampled_from([*[0.0] * 20, 0.001, 0.001, 0.1, 0.5, 1.0, 3.0, 60.0])
LINES = st.lists(st.tuples(PAUSES, st.sampled_from("abc")), min_size=50, max_size=200)
STEPS = st.lists(
    st.tuples(PAUSES, st.sampled_from(["a", "a", "a", "b", "due"])), min_size=50, max_size=200
)


def admitted(lines, limit=None) -> list[tuple[float, str]]:
    limit, now, through = limit or LineLimit(), 0.0, []
    for pause, kind in lines:
        now += pause
        if limit.admits(kind, None, now):
            through.append((now, kind))
    return through


@given(STEPS)
def test_of_a_kind_no_more_is_written_than_its_tokens_allow(steps):
    """F29, R1, S22: counts are lines too."""
    limit, now = LineLimit(), 0.0
    written: dict[str, list[float]] = {"a": [], "b": []}
    for pause, what in steps:
        now += pause
        if what == "due":
            for _, kind in limit.due(now):
                written[str(kind)].append(now)
        elif limit.admits(what, what, now):
            written[what].append(now)
    for moments in written.values():
        for first, begin in enumerate(moments):
            for last, end in enumerate(moments[first:], first):
                assert last - first + 1 <= BURST + RATE * (end - begin) + 1e-6


@given(STEPS)
def test_every_line_is_written_or_told_of(steps):
    """R2."""
    limit, now, written, told, offered = LineLimit(), 0.0, 0, 0, 0
    for pause, what in steps:
        now += pause
        if what == "due":
            told += sum(left_out.lines for left_out in limit.due(now))
        else:
            offered += 1
            written += limit.admits(what, None, now)
        assert bool(limit.untold) == (limit.next_due() is not None)
    told += sum(left_out.lines for left_out in limit.rest())
    assert (written + told, limit.untold) == (offered, 0)
    assert limit.rest() == [] and limit.next_due() is None


@given(LINES)
def test_a_kind_is_treated_as_if_it_were_alone(lines):
    """R3: an error is not hidden behind a flood of another one."""
    moments, now = [], 0.0
    for pause, kind in lines:
        now += pause
        moments.append((now, kind))
    together = admitted(lines)
    for kind in "abc":
        own = [moment for moment, other in moments if other == kind]
        pauses = [b - a for a, b in zip([0.0, *own], own, strict=False)]
        alone = admitted([(pause, kind) for pause in pauses])
        mine = [moment for moment, other in together if other == kind]
        assert [moment for moment, _ in alone] == pytest.approx(mine)


@given(st.lists(st.tuples(PAUSES, st.integers(0, 10_000).map(str)), max_size=500))
def test_kinds_without_number_are_bounded_and_counted(lines):
    """R4, and R1 for what shares a bucket: no flood of kinds is a flood of lines."""
    limit = LineLimit()
    through = admitted(lines, limit)
    assert len(limit._buckets) <= KINDS + 1
    passed = sum(pause for pause, _ in lines)
    assert len(through) <= (KINDS + 1) * (BURST + RATE * passed) + 1
    assert len(through) + sum(left_out.lines for left_out in limit.rest()) == len(lines)


def test_a_flood_of_kinds_is_told_of_as_well():
    limit = LineLimit()
    through = sum(limit.admits(f"kind {number}", number, 0.0) for number in range(1000))
    assert through == KINDS + BURST
    (left_out,) = limit.rest()
    assert left_out == (1000 - through, 999)


@given(STEPS)
def test_what_is_due_is_told_at_the_moment_that_was_named(steps):
    """next_due() names a moment at which due() has something to tell, and not before."""
    limit, now = LineLimit(), 0.0
    for pause, what in steps:
        now += pause
        if what != "due":
            limit.admits(what, None, now)
        moment = limit.next_due()
        if moment is None:
            assert limit.due(now) == []
        elif moment > now:
            assert limit.due(now) == []
            now = moment + 1e-6
            assert limit.due(now)

"""The failures that are drawn: all there are, no more, and a sample that leaves out no stratum."""

from __future__ import annotations

import errno

from hypothesis import given
from hypothesis import strategies as st

from inject.cases import chunks, every, sample, unknown
from inject.errnos import ERRNOS, NEVER

CALLS = sorted(ERRNOS)
RECORDINGS = st.dictionaries(
    st.tuples(
        st.sampled_from(["start", "tasks", "stop"]), st.integers(0, 3), st.sampled_from(CALLS)
    ),
    st.integers(1, 40),
    max_size=12,
).map(lambda found: {(way, role, *call): times for (way, role, call), times in found.items()})


@given(RECORDINGS)
def test_every_call_fails_at_every_time_with_every_errno_once(recorded):
    cases = every(recorded)
    assert len(set(cases)) == len(cases)
    expected = sum(
        times * len(ERRNOS[call, kind].split()) for (_, _, call, kind), times in recorded.items()
    )
    assert len(cases) == expected
    for case in cases:
        times = recorded[case.way, case.role, case.call, case.kind]
        assert 1 <= case.nth <= times
        assert errno.errorcode[case.error] in ERRNOS[case.call, case.kind].split()


@given(RECORDINGS, st.integers(0, 400))
def test_a_sample_is_of_these_and_of_its_size_and_the_same_each_time(recorded, size):
    cases = every(recorded)
    drawn = sample(cases, size)
    assert len(set(drawn)) == len(drawn) == min(size, len(cases))
    assert set(drawn) <= set(cases)
    assert drawn == sample(cases, size)


@given(RECORDINGS)
def test_a_sample_of_the_number_of_strata_has_each_of_them(recorded):
    cases = every(recorded)
    strata = {case.stratum for case in cases}
    assert {case.stratum for case in sample(cases, len(strata))} == strata


@given(RECORDINGS, st.integers(1, 70))
def test_the_chunks_are_all_of_them_and_a_stratum_keeps_its_order(recorded, size):
    cases = every(recorded)
    parts = chunks(cases, size)
    assert all(0 < len(part) <= size for part in parts)
    whole = [case for part in parts for case in part]
    assert sorted(whole) == sorted(cases)
    for stratum in {case.stratum for case in cases}:
        times = [case.nth for case in whole if case.stratum == stratum]
        assert times == sorted(times)


def test_a_start_comes_before_a_stop():
    recorded = {
        ("start", 0, "fork", ""): 2,
        ("stop", 0, "fork", ""): 3,
        ("tasks", 0, "fork", ""): 1,
    }
    ways = [[case.way for case in part] for part in chunks(every(recorded), 100)]
    assert ways == [["tasks"] * 2, ["start", "stop"] * 4, ["stop"] * 2]


def test_each_errno_exists_and_no_call_is_in_both_tables():
    for (call, _), names in ERRNOS.items():
        assert call not in NEVER
        assert len(set(names.split())) == len(names.split())
        for name in names.split():
            assert hasattr(errno, name), (call, name)


def test_a_call_of_no_table_is_found():
    recorded = {("start", 0, "read", "file"): 1, ("start", 0, "brk", ""): 2}
    assert unknown(recorded) == {("brk", "")}

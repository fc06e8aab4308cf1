"""Attempts: how often, and how long apart, for any settings."""

from __future__ import annotations

import json

import hypothesis.strategies as st
from hypothesis import given

from ipckit.server.tasks.retry_policy import Attempts, Failure

delays = st.lists(st.floats(0, 86400), min_size=1, max_size=5).map(tuple)


@given(st.integers(1, 255), delays, st.floats(0, 1e9), st.floats(-1, 1))
def test_there_are_as_many_as_there_may_be(most, waits, now, jitter):
    attempts = Attempts(most, waits)
    for made in range(1, most + 1):
        due = attempts.next_due(made, now, jitter)
        if made == most:
            assert due is None
            continue
        wait = waits[min(made, len(waits)) - 1]
        if wait == 0:
            assert due == 0
        else:
            assert now + 0.8 * wait - 1e-6 <= due <= now + 1.2 * wait + 1e-6


@given(st.text(), st.text(), st.none() | st.integers(1, 64), st.floats(0, 1e10))
def test_a_failure_comes_back(error, traceback, signal, at):
    failure = Failure(error, traceback, signal, at)
    assert Failure(**json.loads(json.dumps(failure.to_json()))) == failure

"""The outcomes of reloads (ipckit.server.supervision.reloads): R1, R2, and what is no longer known."""

from __future__ import annotations

import pytest

from ipckit.server.supervision.reloads import KEPT, Outcome, Reloads


def test_it_runs_then_has_an_outcome():
    reloads = Reloads()
    reloads.requested(2)
    assert reloads.outcome(1) is reloads.outcome(2) is None
    assert reloads.answer(1) == {"done": False}
    reloads.over(1, None, ())
    assert reloads.answer(1) == {"done": True, "ok": True, "reason": "", "killed": ()}
    assert reloads.outcome(2) is None
    reloads.over(2, None, (0, 3))
    assert reloads.outcome(2) == Outcome(ok=False, killed=(0, 3))


def test_the_reason_is_the_first_of_the_process_that_is_at_that_place_now():
    """F30: not that of a process which was there before."""
    reloads = Reloads()
    reloads.failed(3, "of a process before it")
    reloads.begins(3)
    reloads.failed(3, "a traceback")
    reloads.failed(3, "exit code 3")
    reloads.over(1, 3, ())
    outcome = reloads.outcome(1)
    assert outcome is not None and not outcome.ok
    assert outcome.reason.endswith("worker 1 did not come up: a traceback")
    reloads.begins(3)
    reloads.over(2, 3, ())
    assert "the log has the reason" in reloads.answer(2)["reason"]
    assert reloads.outcome(1) == outcome, "R1"


def test_r2_the_end_of_the_server_is_the_outcome_of_what_is_not_over():
    reloads = Reloads()
    reloads.over(1, None, ())
    reloads.requested(3)
    reloads.server_ends()
    assert reloads.outcome(1) == Outcome(ok=True)
    for number in (2, 3):
        outcome = reloads.outcome(number)
        assert outcome is not None and not outcome.ok and "the server ends" in outcome.reason


@pytest.mark.parametrize("number", [0, 2, -1, None, "1", 1.0, True])
def test_a_wrong_number_is_named(number):
    reloads = Reloads()
    reloads.requested(1)
    with pytest.raises(ValueError, match=r"there was no reload .*; the last one is 1"):
        reloads.outcome(number)


def test_as_many_as_kept_are_known():
    reloads = Reloads()
    for number in range(1, KEPT + 2):
        reloads.over(number, None, ())
    with pytest.raises(ValueError, match="the outcome of reload 1 is no longer kept"):
        reloads.outcome(1)
    assert reloads.outcome(2) == reloads.outcome(KEPT + 1) == Outcome(ok=True)

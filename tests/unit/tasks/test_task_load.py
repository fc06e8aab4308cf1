"""The tutorial's rule over a window, and when it is said that the task workers fall behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipckit.server.shared.scoreboard import Scoreboard
from ipckit.server.shared.task_load import KeepingUp, Totals

START = Totals(100.0, 0, 0, 0.0)


def test_the_rule_of_the_tutorial():
    """100 tasks a second of 0.5 s each take 50 task workers."""
    assert Totals(110.0, 1000, 800, 400.0).needed_since(START) == pytest.approx(50)


def test_only_the_time_since_counts():
    morning = Totals(40_000.0, 5_000_000, 5_000_000, 10_000.0)
    now = Totals(40_030.0, 5_000_300, 5_000_100, 10_200.0)
    assert now.needed_since(morning) == pytest.approx(10 * 2.0)


def test_long_tasks_none_of_which_ended_of_late_count_as_before():
    earlier = Totals(200.0, 10, 10, 1000.0)
    assert Totals(230.0, 25, 10, 1000.0).needed_since(earlier) == pytest.approx(0.5 * 100)
    assert Totals(130.0, 60, 0, 0.0).needed_since(START) == 0, "nothing is known yet"
    assert START.needed_since(START) == 0


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 3)), max_size=30))
def test_it_is_said_once_when_it_begins_and_once_when_it_is_over(looks):
    keeping, said = KeepingUp(4), []
    for needed, waiting in looks:
        change = keeping.change(needed, waiting)
        if change is None:
            continue
        said.append(change)
        assert change == (waiting > 0)
        assert not change or needed > 4
    assert said == [number % 2 == 0 for number in range(len(said))]


def test_the_board_keeps_the_last_sample_but_one():
    board = Scoreboard(slots=1, sessions=1)
    first, second, third = (Totals(float(at), at * 2, at * 3, at / 2) for at in (100, 130, 160))
    board.sample_load(first)
    assert board.load_before() == first
    board.sample_load(second)
    assert board.load_before() == first
    board.sample_load(third)
    assert board.load_before() == second

"""When the log says that tasks are refused: immediately, few times, and of every one of them."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ipckit.server.config.settings import Settings
from ipckit.server.shared.task_load import Refusals, Totals
from ipckit.server.tasks.admission import advice

LOOKS = st.lists(
    st.tuples(st.sampled_from([0.1, 1.0, 5.0, 30.0, 100.0]), st.sampled_from([0, 0, 1, 7, 1000])),
    max_size=100,
)


@given(LOOKS)
def test_each_refused_task_is_in_one_line_and_the_lines_are_few(looks):
    """F29."""
    refusals, now, total, memory = Refusals(), 0.0, 0, 0
    said = []
    for pause, more in looks:
        now += pause
        total += more
        memory += more // 2
        refusing_before = bool(said) and not said[-1][1].over
        found = refusals.change(now, total, memory)
        if found is not None:
            said.append((now, found))
        if more and not refusing_before:
            assert found is not None and not found.over, "the first is said at once"
    now += Refusals.QUIET + 0.001  # sums of floats
    end = refusals.change(now, total, memory)
    if end is not None:
        said.append((now, end))
    assert sum(found.tasks for _, found in said) == total
    assert sum(found.for_memory for _, found in said) == memory
    assert not said or said[-1][1].over, "what began is over, and that is said"
    begun = [moment for moment, found in said if not found.over]
    assert len(begun) <= 1 + now / Refusals.QUIET
    for (before, one), (after, other) in pairwise(said):
        if not one.over and not other.over:
            assert after - before >= Refusals.REPEAT - 1e-6
        assert not (one.over and other.over)


@pytest.mark.parametrize(
    ("setting", "needed", "raised"),
    [
        ("task_queue_size", 37.2, "raise task_worker_num"),
        ("task_memory", 37.2, "raise task_worker_num"),
        ("task_queue_size", 1.5, "raise task_queue_size, or task_worker_num"),
        ("task_memory", 1.5, "raise task_memory, or task_worker_num"),
    ],
)
def test_the_setting_to_change_is_named(setting, needed, raised):
    """F29."""
    text = advice(Settings(worker_num=1, task_worker_num=4), setting, needed)
    assert raised in text and f"{setting}=" in text and f"takes {needed} task workers" in text


def test_where_no_attempt_has_ended_there_is_no_figure():
    text = advice(Settings(worker_num=1, task_worker_num=4), "task_queue_size", 0.0)
    assert text.endswith("raise task_worker_num, or task_queue_size for a burst")


def test_what_was_refused_has_arrived():
    """F29: "3.7 needed, 4 there" was of the tasks that had found room."""
    before, now = Totals(0.0, 0, 0, 0.0), Totals(10.0, 4000 + 36_000, 4000, 40.0)
    assert now.needed_since(before) == pytest.approx(40)

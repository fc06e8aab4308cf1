"""How figures are compared: in turn, by pairs, against goals; and how that is printed and drawn."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from bench.plots.curves import Curve
from bench.plots.plot import apart, svg
from bench.ranking import ahead, disagree
from ipckit.cli.bench.command import sentence
from ipckit.cli.bench.rounds import Rounds, Row, figure, limited


def a_row(ratio, goal=None, *, less=True):
    return Row("it", ratio * 10, "that", 10, "ns", ratio, goal, less)


def test_they_are_measured_in_turn_and_the_first_round_is_thrown_away():
    order = []

    def run(name, values):
        def measured():
            order.append(name)
            return values.pop(0)

        return measured

    found = Rounds({"a": run("a", [99, 1, 2, 30]), "b": run("b", [99, 2, 8, 10])}, rounds=3)
    assert order == ["a", "b"] * 4
    assert (found.median("a"), found.median("b")) == (2, 8)
    assert found.ratio("a", "b") == 0.5, "of 0.5, 0.25, 3: the ratio of pairs, not of medians"
    row = found.row("it", "a", "b", "ns", 0.5)
    assert row == Row("it", 2, "b", 8, "ns", 0.5, 0.5)


def test_a_loops_own_time_is_taken_off_round_by_round():
    found = Rounds({"loop": iter([0, 1, 2]).__next__, "a": iter([0, 5, 8]).__next__}, rounds=2)
    assert found.less("loop").figures == {"a": [4, 6]}


@pytest.mark.parametrize(
    ("ratio", "goal", "less", "verdict"),
    [
        (0.5, None, True, ""), (0.5, 0.5, True, "reached"), (0.57, 0.5, True, "within noise"),
        (0.58, 0.5, True, "missed"), (2.0, 2.0, False, "reached"),
        (1.71, 2.0, False, "within noise"), (1.69, 2.0, False, "missed"),
    ],
)  # fmt: skip
def test_a_goal_is_reached_or_not(ratio, goal, less, verdict):
    row = a_row(ratio, goal, less=less)
    assert row.verdict == verdict
    assert verdict in row.line()


def test_a_limit():
    row = limited("a worker", 6, 12, "MiB")
    assert (row.ratio, row.verdict) == (0.5, "reached")
    assert limited("a worker", 14, 12, "MiB").verdict == "missed"


@pytest.mark.parametrize(
    ("ratio", "less", "told"),
    [
        (0.5, True, "2.0 times as fast as that"), (2.0, True, "2.0 times as slow as that"),
        (2.0, False, "2.0 times as fast as that"), (0.25, False, "4.0 times as slow as that"),
        (1.1, True, "as fast as that"), (0.9, False, "as fast as that"),
    ],
)  # fmt: skip
def test_a_row_is_told_in_a_sentence(ratio, less, told):
    assert sentence(a_row(ratio, less=less)).endswith(f" ns, {told}")


def test_numbers_are_told_with_the_digits_that_count():
    assert [figure(x) for x in (1234567.8, 100, 99.94, 1.234, 0.0721, -7499776)] == [
        "1,234,568", "100", "99.9", "1.23", "0.0721", "-7,499,776",
    ]  # fmt: skip


def test_runs_disagree_when_another_one_is_ahead():
    ranks = [ahead(a_row(ratio)) for ratio in (0.5, 0.9, 1.1, 1.2)]
    assert ranks == ["we", "nobody", "nobody", "they"]
    assert ahead(a_row(0.5, less=False)) == "they"
    assert not disagree(["we", "nobody", "we"])
    assert disagree(["we", "nobody", "they"])


@pytest.mark.parametrize("log_y", [True, False])
def test_a_curve_is_drawn_inside_its_frame(log_y):
    curve = Curve("name", "A < B", "rows", "ns", log_y=log_y)
    for x, y in ((1, 3), (10, 30), (1000, 4000)):
        curve.add("one & two", x, y)
        curve.add("flat", x, 5)
    root = ET.fromstring(svg(curve))
    name = "{http://www.w3.org/2000/svg}"
    circles = root.findall(f"{name}circle")
    assert len(circles) == 6
    for circle in circles:
        assert 64 <= float(circle.get("cx")) <= 530
        assert 44 <= float(circle.get("cy")) <= 348
    texts = [text.text for text in root.findall(f"{name}text")]
    assert {"A < B", "one & two", "flat", "rows", "ns", "1k"} <= set(texts)


def test_labels_do_not_lie_over_each_other():
    placed = apart([(10, "a"), (11, "b"), (12, "c"), (100, "d")])
    assert placed == {"a": 10, "b": 25, "c": 40, "d": 100}

"""The time line as a page: whole, escaped, without a script, and red where it is wrong."""

from __future__ import annotations

import html
import itertools
import os
import re

import pytest

from ipckit.testing import Event, History, Operation, Raised, check
from ipckit.testing.histories.html import page
from ipckit.testing.models import Counter

EVIL = "<script src=//x>&\"'</svg>"
LOST = History(
    [
        Operation(0, "add", {}, 10, 50, 1),
        Operation(1, "add", {}, 20, 40, 1),
        Operation(2, "add", {}, 15, 60, cut=True),
        Operation(0, "get", {}, 70, 80, 2),
    ],
    [Event(2, "killed", 60)],
)


def rectangles(text: str) -> list[tuple[str, str]]:
    """The title and the class of each bar."""
    found = re.findall(r'<g><title>(.*?)</title><rect class="(\w+)"', text)
    return [(html.unescape(title), kind) for title, kind in found]


def test_it_has_each_operation_of_the_text_and_no_other():
    text = page(LOST)
    assert [title for title, _ in rectangles(text)] == [str(each) for each in LOST]
    drawn = str(LOST)
    for each in LOST:
        call, _, answer = str(each).rpartition(" -> ")
        assert f"┌ {call}" in drawn and f"└ {answer}" in drawn
    for lane in LOST.processes:
        assert f">process {lane}</text>" in text and f"process {lane}" in drawn


def test_what_fits_nowhere_is_red_and_nothing_else():
    history = History([each for each in LOST if each.process < 2])
    verdict = check(history, Counter())
    assert verdict.unplaced is not None
    kinds = rectangles(page(verdict.counter_example, verdict))
    assert [title for title, kind in kinds if kind == "wrong"] == [str(verdict.unplaced)]
    assert len(kinds) == len(verdict.counter_example)
    assert page(LOST).count('class="wrong"') == 0


def test_a_kill_is_marked_where_and_when_it_was():
    text = page(LOST)
    assert text.count('class="event"') == 1 == text.count(">killed</text>")
    assert ("add() -> killed", "cut") in rectangles(text)
    (x,) = re.findall(r'<line class="event" x1="(\d+)"', text)
    ((begin, long),) = re.findall(r'class="cut" x="(\d+)" y="\d+" width="(\d+)"', text)
    assert int(begin) + int(long) == int(x)


@pytest.mark.parametrize(
    "operation",
    [
        Operation(0, "put", {"value": EVIL}, 1, 2),
        Operation(0, "get", {}, 1, 2, EVIL),
        Operation(0, "get", {}, 1, 2, Raised.of(ValueError(EVIL))),
        Operation(0, EVIL, {}, 1, 2),
    ],
)
def test_markup_stays_text_and_nothing_is_fetched(operation):
    history = History([operation], [Event(0, EVIL, 2)])
    text = page(history, title=EVIL, text=EVIL)
    assert (str(operation), "bar") in rectangles(text)
    assert "<script" not in text.lower()
    assert "http" not in text
    assert not re.search(r"\b(?:src|href|url|@import)\b\s*[=(]", html_tags(text))
    assert text.count("<svg") == 1 == text.count("</svg>")


def html_tags(text: str) -> str:
    """The tags, without what stands between them."""
    return " ".join(re.findall(r"<[^>]*>", text))


def test_labels_of_one_line_do_not_overlap():
    long = [Operation(0, "put", {"value": "x" * 30}, i, i + 1) for i in range(0, 40, 2)]
    events = [Event(1, "stopped", 5), Event(1, "continued", 6)]
    text = page(History(long, events))
    labels = re.findall(r'<text class="(?:bar|event)-name" x="(\d+)" y="(\d+)">(.*?)</text>', text)
    assert len(labels) == 22
    lines: dict[str, list[tuple[int, int]]] = {}
    for x, y, label in labels:
        lines.setdefault(y, []).append((int(x), int(x) + 7 * len(html.unescape(label))))
    for line in lines.values():
        assert all(one[1] < two[0] for one, two in itertools.pairwise(line))
    (width,) = re.findall(r'<svg width="(\d+)"', text)
    assert max(end for line in lines.values() for _, end in line) < int(width)


def test_a_history_of_nothing_is_a_page(tmp_path):
    History().to_html(tmp_path / "empty.html")
    assert "0 processes, 0 operations" in (tmp_path / "empty.html").read_text()


def test_a_value_that_is_no_utf_8_is_drawn_and_saved(tmp_path):
    """F1: a name as os.fsdecode() gives it, in a value and in the text of an error."""
    name = os.fsdecode(b"caf\xe9")
    raised = Raised(("ValueError",), name)
    history = History([Operation(0, "put", {name: name}, 0, 1, raised)], [Event(0, name, 1)])
    history.to_html(tmp_path / "page.html")
    assert "caf" in (tmp_path / "page.html").read_text()
    history.save(tmp_path / "history.json")
    (loaded,) = History.load(tmp_path / "history.json")
    assert loaded.result.text == name

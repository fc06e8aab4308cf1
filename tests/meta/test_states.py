"""docs/design shows the states of a process and of a connection as the code has them.

To write the pages again: `.venv/bin/python tests/meta/test_states.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path

import pytest

from ipckit.server.connections import life
from ipckit.server.supervision import member

DESIGN = Path(__file__).parents[2] / "docs/design"
BEGIN, END = "<!-- from the table -->\n", "<!-- end -->\n"
PAGES = {
    "process-states.md": {pair: {after} for pair, after in member.LIFE.items()},
    "connection-states.md": life.LIFE,
}


def table(changes: Mapping[tuple[Enum, Enum], Collection[Enum]]) -> str:
    """A line for each pair that changes the state, in the order of the table."""
    lines = ["| state | event | becomes |", "|---|---|---|"]
    for (state, event), after in changes.items():
        kind = type(state)
        names = " or ".join(each.value for each in kind if each in after)
        lines.append(f"| {state.value} | {event.value} | {names} |")
    return "\n".join(lines) + "\n"


def split(page: str) -> tuple[str, str, str]:
    before, _, rest = (DESIGN / page).read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    return before, shown, after


@pytest.mark.parametrize("page", PAGES)
def test_the_page_shows_the_table_of_the_code(page):
    assert split(page)[1] == table(PAGES[page])


@pytest.mark.parametrize("page", PAGES)
def test_the_page_names_every_state(page):
    before = split(page)[0]
    states = {state for pair in PAGES[page].items() for state in (pair[0][0], *pair[1])}
    assert [state.value for state in states if f"*{state.value}*:" not in before] == []


if __name__ == "__main__":
    for page, changes in PAGES.items():
        before, _, after = split(page)
        (DESIGN / page).write_text(before + BEGIN + table(changes) + END + after)

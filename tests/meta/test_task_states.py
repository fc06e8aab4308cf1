"""docs/design/task-states.md shows the ledger's state machine as the C core has it.

To write the page again: `.venv/bin/python tests/meta/test_task_states.py`.
"""

from __future__ import annotations

from pathlib import Path

from ipckit._core import _ledger

PAGE = Path(__file__).parents[2] / "docs/design/task-states.md"
BEGIN, END = "<!-- from ledger/transitions.h -->\n", "<!-- end -->\n"
STATES = "FREE WRITING BLOCKED DELAYED QUEUED RUNNING BURIED DONE DELIVERING CLEARING".split()


def table():
    """A line for each state and call: what the call makes of it, and who may."""
    lines = ["| state | call | by | becomes |", "|---|---|---|---|"]
    for number, state in enumerate(STATES):
        assert getattr(_ledger, state) == number
        for call, who, since, to in _ledger.TRANSITIONS:
            if number in since:
                names = " or ".join(STATES[each] for each in to)
                lines.append(f"| {state} | {call} | {who} | {names} |")
    return "\n".join(lines) + "\n"


def split():
    before, _, rest = PAGE.read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    return before, shown, after


def test_the_page_shows_the_table_of_the_core():
    assert split()[1] == table()


if __name__ == "__main__":
    before, _, after = split()
    PAGE.write_text(before + BEGIN + table() + END + after)

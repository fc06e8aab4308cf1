"""A child of each start method gets of each object what the reference says: docs/reference/start-methods.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import RUN
from pages import DOCS

HERE = Path(__file__).parent
PAGE = (DOCS / "reference/start-methods.md").read_text()
METHODS = ("fork", "spawn", "forkserver", "pickle")
SHARED, COPY = "shared", "a copy"

# What a child gets: by fork, spawn and forkserver, and by any other pickle.
CELLS = {
    "`Table` without a name": (SHARED, SHARED, SHARED, "MisuseError"),
    "`Table` with a name": (SHARED, SHARED, SHARED, SHARED),
    "the row of `with table.lock()`": (COPY, "TypeError", "TypeError", "TypeError"),
    "`MemoryTable`": (COPY, "TypeError", "TypeError", "TypeError"),
    "`Atomic`": (SHARED, SHARED, SHARED, "MisuseError"),
    "`Lock`": (SHARED, SHARED, SHARED, "MisuseError"),
    "`SysvQueue`": (SHARED, SHARED, SHARED, SHARED),
    "the queue of `msg_get_queue()`": (SHARED, SHARED, SHARED, SHARED),
    "`PosixQueue`": (SHARED, SHARED, SHARED, SHARED),
    "`SharedQueue` without a name": (SHARED, SHARED, SHARED, "MisuseError"),
    "`SharedQueue` with a name": (SHARED, SHARED, SHARED, SHARED),
    "`ObjectQueue` without a name": (SHARED, SHARED, SHARED, "MisuseError"),
    "`ObjectQueue` with a name": (SHARED, SHARED, SHARED, SHARED),
    "`MemoryQueue`": (COPY, "TypeError", "TypeError", "TypeError"),
    "`MemoryPriorityQueue`": (COPY, "TypeError", "TypeError", "TypeError"),
    "`QueueRelay`": ("MisuseError", "TypeError", "TypeError", "TypeError"),
    "`Channel`": (SHARED, SHARED, SHARED, "MisuseError"),
    "`Client`, connected": (SHARED, "TypeError", "TypeError", "TypeError"),
    "`Client`, not connected": (COPY, COPY, COPY, COPY),
    "`TaskClient`": (SHARED, SHARED, SHARED, SHARED),
    "`DeadLetters`": (SHARED, SHARED, SHARED, SHARED),
    "`Framer`": (COPY, COPY, COPY, COPY),
    "values: `Framing`, columns, `Message`, `Frame`, `DeadLetter`, statistics": (COPY,) * 4,
    "`Server`, before `start()`": (SHARED, SHARED, SHARED, "MisuseError"),
}
# Each class of the reference that is in no row: why.
IN_NO_ROW = {
    "SockType": "a constant", "TaskIPC": "a constant", "Seen": "a constant", "Rule": "a value",
    "Wakeup": "a value", "PosixStatistics": "statistics", "Statistics": "statistics",
    "TableStatistics": "statistics", "Bytes": "a column", "Float": "a column", "Int": "a column",
    "SharedStatistics": "statistics", "LeaseHolder": "a value", "DeadMessage": "a value",
    "DeadMessages": "a view of its queue", "Lease": "a part of its queue",
    "DeadObjects": "a view of its queue", "ObjectLease": "a part of its queue",
    "DeadObject": "a value", "FrameInto": "a frame over a buffer of its process",
    "Reservation": "a part of its queue",
    "Str": "a column", "Port": "a part of its server", "LockedRow": "the row of a lock",
}  # fmt: skip


def rows(title: str) -> dict[str, list[str]]:
    """The rows of the table below a title: first cell to the others."""
    part = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    found = [line.strip("| ").split(" | ") for line in part.splitlines() if line[:2] == "| "][1:]
    return {row[0]: row[1:] for row in found}


@pytest.fixture(scope="module", params=METHODS)
def method(request, tmp_path_factory):
    """A start method, and what its children got: "shared", "a copy", or an error with its text."""
    folder = tmp_path_factory.mktemp(request.param)
    done = subprocess.run(
        [sys.executable, "-W", "error", HERE / "sharing_program.py", request.param],
        env={
            **os.environ,
            "IPCKIT_TEST_FOLDER": str(folder),
            "PYTHONPATH": str(HERE.parents[1]),
        },
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return METHODS.index(request.param), json.loads(done.stdout)


@pytest.mark.parametrize("name", CELLS)
def test_a_child_gets(name, method):
    column, found = method
    told = CELLS[name][column]
    if told in {SHARED, COPY}:
        assert found[name] == told
        return
    error, _, text = found[name].partition(": ")
    assert error == told
    if (name, METHODS[column]) != ("`QueueRelay`", "fork"):
        what, step = rows("What the errors say")[name]
        assert what in text
        assert text.endswith(step)
    else:
        assert text == "this relay belongs to the process that made it: make one here"


def test_nothing_is_left_out(method):
    assert list(method[1]) == list(CELLS)


def test_the_reference_has_the_same_table():
    told = {
        name: tuple(cell.strip("`") for cell in row)
        for name, row in rows("What a child gets").items()
    }
    assert told == CELLS
    refused = {name for name, row in CELLS.items() if set(row[1:]) - {SHARED, COPY}}
    assert set(rows("What the errors say")) == refused


def test_every_class_of_the_reference_is_in_the_table():
    classes = {
        path.split(".")[-1]
        for page in (DOCS / "reference").glob("*.md")
        for path in re.findall(r"autoclass:: (ipckit\.(?!testing)[\w.]+)", page.read_text())
    }
    told = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", " ".join(CELLS)))))
    assert classes - told == set(IN_NO_ROW)

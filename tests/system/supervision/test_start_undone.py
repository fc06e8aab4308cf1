"""F6, P7: a start that fails at any of its steps raises a typed error, and undoes itself.

Each call of a start fails once, with ENOSPC; then each number of free descriptors is tried that is
too small (starts_that_fail.py). Once without anything stored, once with tasks in a named ledger and
a message in a queue with a key.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import RUN

from ipckit import NotFound, SysvQueue

PROGRAM = Path(__file__).parent / "starts_that_fail.py"
STORED = {
    "none": [],
    "tasks": [
        "/dev/shm/ipckit.ledger.start-undone",
        "3 tasks",
        "queue 0x1bc0de01 1 600",
        "spill/ledger-start-undone",
    ],
}


@pytest.fixture
def clean():
    """Remove what is stored on purpose."""
    yield
    with contextlib.suppress(FileNotFoundError):
        os.unlink(STORED["tasks"][0])
    with contextlib.suppress(NotFound):
        SysvQueue.open(0x1BC0DE01).remove()


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize(("how", "least"), [("calls", 50), ("descriptors", 20)])
def test_s41_f6_each_step_fails_in_turn(tmp_path, clean, how, least, stored):
    """S41: F6: stored tasks are kept, all else is undone, and the error is an IPCError."""
    done = subprocess.run(
        [sys.executable, PROGRAM, tmp_path, how, stored],
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )
    starts = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (done.stderr, starts[-1:])
    assert len(starts) >= least, "so many calls have failed"
    assert [one for one in starts if not one["typed"]] == []
    assert [one for one in starts if one["left"] != STORED[stored]] == []
    raised = " ".join(one["raised"] for one in starts)
    calls = {
        "calls": ("memfd_create", "ftruncate", "eventfd", "socketpair", "pidfd_open", "open"),
        "descriptors": ("socketpair", "pidfd_open", "memfd_create", "eventfd", "open"),
    }[how]
    assert [call for call in calls if f"] {call}: " not in raised] == []

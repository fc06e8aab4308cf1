"""Queues, tables, locks and Channel.receive(into=): each system call fails once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import RUN

from inject.calls.steps import STEPS
from inject.library import page

TESTS = Path(__file__).parents[2]
SOAK = os.environ.get("IPCKIT_SOAK") == "1"
LEAST = 900


@pytest.mark.timeout(RUN)
def test_a_call_that_fails_leaves_a_sound_queue(tmp_path):
    """The errors are typed, nothing is left open or in /dev/shm, and the same call then succeeds."""
    done = subprocess.run(
        [sys.executable, "-m", "inject.calls.steps", *(["all"] if SOAK else [])],
        env={
            **page.environment(page.build(tmp_path), tmp_path / "page"),
            "PYTHONPATH": str(TESTS),
            "INJECT_NAME": (name := f"inject-{os.getpid()}"),
        },
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    failures = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each for each in failures if each[-1]] == []
    assert {each[0] for each in failures} == set(STEPS)
    assert len(failures) >= LEAST
    assert not any(name in each for each in os.listdir("/dev/shm"))

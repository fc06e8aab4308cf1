"""A close() during the first call of another thread ends that call, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from closing_threads import KINDS
from deadlines import RUN

PROGRAM = Path(__file__).parents[2] / "helpers" / "closing_threads.py"
ROUNDS = 300
"""Before the fix of it, the process crashed within 50 for a table."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_close_meets_the_first_call_of_other_threads(kind):
    """In a process of its own, which may crash. The call is done, or raises MisuseError."""
    done = subprocess.run(
        [sys.executable, "-W", "error", PROGRAM, kind, str(ROUNDS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""A saved failure, tried in an interpreter of its own, where no earlier run has left anything.

Contract  `fails_in_fresh_interpreter` gives whether the failure is seen again there within `RUNS`
          runs, or a text that says why it could not be tried: the class is local to a function, or
          its module cannot be imported by its file.
Blocks    for as long as those runs take; an interpreter that takes more than `LIMIT` s is ended.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

from ipckit.testing.spec import Machine

RUNS = 20
LIMIT = 300.0  # seconds
SAID = "ipckit-fresh: "


def fails_in_fresh_interpreter(machine: type[Machine], saved: Path) -> bool | str:
    """See the head."""
    if "<locals>" in machine.__qualname__:
        return "the class is local to a function"
    try:
        file = inspect.getfile(machine)
    except (OSError, TypeError):
        return "the class is of no file"
    order = json.dumps([sys.path, file, machine.__module__, machine.__qualname__, str(saved)])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ipckit.testing.search.rerun"],
            input=order,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {LIMIT:g} s"
    said = done.stdout.rpartition(SAID)[2].strip() if SAID in done.stdout else ""
    if done.returncode != 0 or said not in ("fails", "passes"):
        return (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    return said == "fails"

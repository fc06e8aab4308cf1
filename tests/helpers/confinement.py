"""Run Python where something is missing, as in a container: system/containers/confine.py does it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deadlines import LOOK, RUN

TESTS = Path(__file__).parents[1]
CONFINE = TESTS / "system" / "containers" / "confine.py"
IMPOSSIBLE = 77  # CONFINE


def confined(place: dict[str, Any], *words: str, python: str = sys.executable) -> dict[str, Any]:
    """Run Python with these words in that place; return what CONFINE says of it."""
    spec = json.dumps({"seconds": RUN, **place})
    done = subprocess.run(
        [sys.executable, CONFINE, spec, python, *words],
        capture_output=True,
        text=True,
        timeout=RUN + LOOK,
        check=False,
        env={**os.environ, "PYTHONPATH": str(TESTS), "XDG_RUNTIME_DIR": ""},
    )
    if done.returncode == IMPOSSIBLE:
        missing(done.stderr)
    assert done.returncode == 0, done
    told = json.loads(done.stdout)
    if told["code"] == IMPOSSIBLE:
        missing(told["err"])
    return told


def missing(why: str) -> None:
    """Skip the test; where every tool is to be there, that is a failure."""
    if os.environ.get("IPCKIT_ALL_TOOLS") == "1":
        pytest.fail(why)
    pytest.skip(why)

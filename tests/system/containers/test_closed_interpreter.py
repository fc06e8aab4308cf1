"""P5: `user`, where that user may not read the interpreter, as one under another user's home."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from confinement import TESTS, confined

PROGRAM = Path(__file__).parent / "closed.py"


def closed() -> list[str]:
    """The interpreter, its environment and ipckit; not what lies in /usr, where all programs do."""
    found = {sys.base_prefix, sys.prefix, str(TESTS.parent)} - {"/usr"}
    return sorted(one for one in found if not any(one.startswith(f"{o}/") for o in found))


@pytest.mark.needs_root
@pytest.mark.needs_namespaces
@pytest.mark.parametrize("how", ["start", "run"])
def test_a_user_that_may_not_read_the_interpreter(how):
    """All that the server needs is imported before a process changes its user."""
    told = confined({"closed": closed()}, str(PROGRAM), how)
    assert told["code"] == 0, told
    log = told["out"]
    assert log.count("Traceback") == 2 == log.count("\nValueError: as asked"), told
    assert log.count("Error") == log.count("ValueError"), told
    assert told["left"] == [], told

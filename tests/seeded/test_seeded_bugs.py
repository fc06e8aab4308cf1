"""The harness finds what is broken on purpose, and shrinks it to what a person can read.

F33: also beside load, as its searches are bounded by counts of runs. IPCKIT_SOAK=1 looks for each bug twenty times.
"""

from __future__ import annotations

import os

import pytest
from seeded import c_bugs, python_bugs

from ipckit.testing import PropertyFailed
from ipckit.testing.search.search import run_machine

TIMES = 20 if os.environ.get("IPCKIT_SOAK") == "1" else 1


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return c_bugs.compiled(tmp_path_factory.mktemp("seeded"))


def find(machine, folder, monkeypatch):
    monkeypatch.chdir(folder)  # where the failure is saved
    # What hypothesis shrinks besides is the arguments, which nothing here looks at.
    monkeypatch.setattr("ipckit.testing.search.search.SHRINKING", 0.1)
    with pytest.raises(PropertyFailed) as caught:
        run_machine(machine)
    failure = caught.value.failure
    assert failure.kind == machine.kind
    assert len(failure.program.branches) <= 2, str(caught.value)
    assert failure.program.count() <= 4, str(caught.value)
    assert str(caught.value).startswith(f"{machine.kind}: {machine.__name__}: 2 processes, ")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("time", range(TIMES))
@pytest.mark.parametrize("machine", python_bugs.MACHINES, ids=lambda each: each.__name__)
def test_a_bug_in_python_is_found(machine, time, tmp_path, monkeypatch):
    find(machine, tmp_path, monkeypatch)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("time", range(TIMES))
@pytest.mark.parametrize("machine", c_bugs.MACHINES, ids=lambda each: each.__name__)
def test_a_bug_in_c_is_found(machine, time, library, tmp_path, monkeypatch):
    monkeypatch.setattr(c_bugs.InC, "library", library, raising=False)
    find(machine, tmp_path, monkeypatch)

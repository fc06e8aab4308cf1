"""The harness finds what is broken on purpose, and shrinks it to what a person can read.

F33: also beside load, as its searches are bounded by counts of runs. IPCKIT_SOAK=1 looks for each bug twenty times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import RUN
from seeded import c_bugs, python_bugs, queue_bugs

from ipckit.testing import PropertyFailed
from ipckit.testing.search.search import run_machine

TIMES = 20 if os.environ.get("IPCKIT_SOAK") == "1" else 1


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return c_bugs.compiled(tmp_path_factory.mktemp("seeded"))


@pytest.fixture(scope="module")
def queue_objects(tmp_path_factory):
    return queue_bugs.compile_sound(tmp_path_factory.mktemp("queue"))


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


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("time", range(TIMES))
@pytest.mark.parametrize("bug", queue_bugs.BUGS, ids=lambda each: each.name.replace(" ", "-"))
def test_a_bug_in_the_shared_queue_is_found(bug, time, queue_objects, tmp_path):
    library = queue_bugs.compile_bug(bug, queue_objects, tmp_path)
    tests = Path(__file__).parents[1]
    words = ["seeded.queue_search", str(library), bug.machine, str(bug.operations)]
    run = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=tmp_path,  # where the failure is saved
        env=os.environ | {"PYTHONPATH": f"{tests}:{tests / 'helpers'}"},
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["kind"] in bug.kinds, found["text"]
    assert found["processes"] <= 2, found["text"]
    assert found["calls"] <= bug.calls, found["text"]

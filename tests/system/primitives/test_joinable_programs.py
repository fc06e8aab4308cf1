"""Programs of multiprocessing's queues run with one changed import, under each start method."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import RUN

PROGRAMS = Path(__file__).with_name("joinable_programs.py")
BEFORE = "from multiprocessing import JoinableQueue, Process\n"
AFTER = (
    "from multiprocessing import Process\n\nfrom ipckit.queue import ObjectQueue as JoinableQueue\n"
)


def results(path, method) -> dict:
    done = subprocess.run(
        [sys.executable, path, method],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def expected():
    """What the programs print over multiprocessing."""
    return results(PROGRAMS, "fork")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_twelve_programs_with_one_import_changed(expected, tmp_path, method):
    source = PROGRAMS.read_text()
    assert source.count(BEFORE) == 1 and source.count("JoinableQueue") > 12
    changed = tmp_path / PROGRAMS.name
    changed.write_text(source.replace(BEFORE, AFTER))
    got = results(changed, method)
    assert len(got) == 12
    for name in expected:
        assert got[name] == expected[name], name

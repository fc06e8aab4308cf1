"""`ipckit bench` on this machine, in its shortest form: rows that make sense, nothing left."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
from deadlines import RUN
from start_method import METHODS, set_default

IPCKIT = [sys.executable, "-m", "ipckit", "bench"]


def test_it_measures_everything_and_gives_one_document():
    run = subprocess.run(
        [*IPCKIT, "--json", "--rounds", "1"],
        capture_output=True,
        text=True,
        timeout=RUN,
        check=True,
    )
    rows = json.loads(run.stdout)["rows"]
    assert run.stderr == ""
    packages = {name for name in ("sysv_ipc", "posix_ipc") if importlib.util.find_spec(name)}
    assert {row["beside"] for row in rows} >= packages | {
        "Manager().dict()", "two bare Python loops", "multiprocessing.Pool",
        "a bare uvloop Protocol",
    }  # fmt: skip
    assert all(row["ours"] > 0 and row["theirs"] > 0 and row["ratio"] > 0 for row in rows)


@pytest.mark.parametrize("method", METHODS)
def test_it_measures_with_every_default_of_multiprocessing(method, tmp_path, monkeypatch):
    """P3: the peers that have processes are started by fork, whatever the default."""
    set_default(method, tmp_path, monkeypatch)
    run = subprocess.run(
        [*IPCKIT, "table", "task", "--json", "--rounds", "1"],
        capture_output=True,
        text=True,
        timeout=RUN,
        check=True,
    )
    assert run.stderr == ""
    rows = json.loads(run.stdout)["rows"]
    assert all(row["ours"] > 0 and row["theirs"] > 0 for row in rows)


def test_it_tells_a_sentence_for_each_and_names_what_there_is():
    run = subprocess.run(
        [*IPCKIT, "queue", "--rounds", "1"], capture_output=True, text=True, timeout=RUN, check=True
    )
    packages = sum(map(bool, map(importlib.util.find_spec, ("sysv_ipc", "posix_ipc"))))
    assert len(run.stdout.splitlines()) == 1 + packages
    assert "SysvQueue" in run.stdout
    wrong = subprocess.run(
        [*IPCKIT, "queues"], capture_output=True, text=True, timeout=RUN, check=False
    )
    assert wrong.returncode == 2
    assert "no 'queues' to measure: queue, table, task, echo" in wrong.stderr
    wrong = subprocess.run(
        [*IPCKIT, "--rounds", "0"], capture_output=True, text=True, timeout=RUN, check=False
    )
    assert wrong.returncode == 2
    assert "1..100" in wrong.stderr

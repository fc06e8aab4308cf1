"""The harness in a project of somebody else: one file, pytest, and nothing configured."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from deadlines import RUN

PROJECT = """
import mmap

from ipckit.testing import ProcessMachine, op


class Counter(ProcessMachine):
    engine = "stepped"
    examples = 20
    runs = 10
    processes = operations = 2

    def setup(self):
        self.memory = mmap.mmap(-1, 8)

    def teardown(self):
        self.memory.close()

    def model(self):
        return 0

    @op()
    def add(self):
        {body}

    @add.model
    def _(self, state):
        return {model}


TestCounter = Counter.TestCase
"""
WRONG = PROJECT.format(
    body="self.memory[0] += 1\n        return self.memory[0]", model="state + 1, state + 1"
)
RIGHT = PROJECT.format(body="self.memory[0] = 1\n        return self.memory[0]", model="1, 1")


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    # With CI set, pytest prints a failure's whole text a second time, in its summary.
    left_out = {"CI", "BUILD_NUMBER", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_PLUGINS"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in left_out},
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )


def test_a_right_object_passes(tmp_path):
    (tmp_path / "test_counter.py").write_text(RIGHT)
    done = pytest_in(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert not (tmp_path / ".ipckit").exists()


def test_a_wrong_object_fails_and_the_printed_command_fails_again(tmp_path):
    (tmp_path / "test_counter.py").write_text(WRONG)
    done = pytest_in(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "not linearizable: Counter: 2 processes, 2 operations" in done.stdout
    (command,) = re.findall(r"Replay: (python -m pytest .*)", done.stdout)
    python, m, pytest, *arguments = shlex.split(command)
    assert (python, m, pytest) == ("python", "-m", "pytest")
    assert arguments[0] == "test_counter.py::TestCounter::runTest"
    (page,) = re.findall(r"Time line: (\S+)", done.stdout)
    assert (tmp_path / page).is_file()

    again = pytest_in(tmp_path, *arguments)
    assert again.returncode == 1, again.stdout
    assert "not linearizable: Counter: 2 processes, 2 operations" in again.stdout

    (tmp_path / "test_counter.py").write_text(RIGHT)  # mended: the same command passes
    mended = pytest_in(tmp_path, *arguments)
    assert mended.returncode == 0, mended.stdout


def test_importing_it_loads_no_hypothesis():
    code = "import sys, ipckit.testing; print('hypothesis' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=RUN, check=True
    )
    assert said.stdout.strip() == "False"

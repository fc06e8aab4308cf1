"""The stubs say what the modules have: mypy's stubtest for those in C, the lazy names for the top."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from deadlines import RUN

import ipckit

MODULES = sorted(path.stem for path in (Path(__file__).parents[2] / "ipckit/_core").glob("*.pyi"))


def test_the_c_modules_are_as_their_stubs_say():
    assert MODULES == ["_accept", "_frames", "_ipk", "_ledger", "_messages", "_rows", "_stream"]
    names = [f"ipckit._core.{name}" for name in MODULES]
    done = subprocess.run(
        # Which C types share a base is of no use to a caller of ours.
        [sys.executable, "-m", "mypy.stubtest", "--ignore-disjoint-bases", *names],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_type_checkers_see_the_lazy_names():
    """Each name of the package stands in its stub, from the module that has it."""
    stub = ast.parse(Path(ipckit.__file__).with_suffix(".pyi").read_text())
    homes = {
        each.asname: line.module
        for line in stub.body
        if isinstance(line, ast.ImportFrom)
        for each in line.names
    }
    assert {name: f"ipckit.{home}" for name, home in ipckit._HOME.items()} == homes

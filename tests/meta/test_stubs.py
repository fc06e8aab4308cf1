"""The stubs say what the modules have: mypy's stubtest for those in C, the lazy names for the top."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import RUN

import ipckit

MODULES = sorted(path.stem for path in (Path(__file__).parents[2] / "ipckit/_core").glob("*.pyi"))


def test_the_c_modules_are_as_their_stubs_say():
    assert MODULES == [
        "_accept", "_frames", "_ipk", "_ledger", "_messages", "_rows", "_shared_queue", "_stream",
    ]  # fmt: skip
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


CORE = Path(__file__).parents[2] / "ipckit/_core"
CALLED_BY_NAME = {
    (
        "_stream",
        "_Unusual",
        "stream",
    ): r'(?:defer(?:_error)?_to_python\(\w+,|CallMethod\(self,)\s*"(\w+)"',
    ("_messages", "_SysvCases", "queues"): r"^METHOD\(sysv(_\w+),",
    ("_messages", "_PosixCases", "queues"): r"^METHOD\(posix(_\w+),",
    ("_rows", "_Schema", "table"): r'->schema,\s*"(\w+)"',
    ("_rows", "_Refusals", "table"): r'->refusals,\s*(?:\S+ \? )?"(\w+)"(?: : "(\w+)")?',
}


@pytest.mark.parametrize("where", CALLED_BY_NAME, ids="{0[0]}.{0[1]}".format)
def test_methods_that_c_calls_by_name_are_declared(where):
    """Each method of a subclass, or of an object given, stands in the stub, and no other one."""
    stub, name, folder = where
    sources = "".join(path.read_text() for path in sorted((CORE / "python" / folder).glob("*.c")))
    called = re.findall(CALLED_BY_NAME[where], sources, re.MULTILINE)
    called = {each for found in called for each in ([found] if isinstance(found, str) else found)}
    body = ast.parse((CORE / f"{stub}.pyi").read_text()).body
    (declared,) = (each for each in body if isinstance(each, ast.ClassDef) and each.name == name)
    methods = {each.name for each in declared.body if isinstance(each, ast.FunctionDef)}

    assert called - {""} == methods


def test_mypy_refuses_a_subclass_that_renames_a_method_of_those(tmp_path):
    code = tmp_path / "renamed.py"
    code.write_text(
        "from ipckit._core._stream import Stream\n"
        "from ipckit._core._messages import Posix, Sysv\n"
        "class Renamed(Stream): ...\n"
        "class Both(Sysv): ...\n"
        "class More(Posix): ...\n"
        "Renamed(), Both(), More()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(code)],
        cwd=CORE.parents[1],
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )
    for name in ("Renamed", "Both", "More"):
        assert f'Cannot instantiate abstract class "{name}"' in done.stdout, (
            done.stdout + done.stderr
        )

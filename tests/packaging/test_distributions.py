"""What is published: the sdist builds with a compiler alone, the wheel runs without one."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest
from deadlines import RUN

from .conftest import ROOT, run

SMOKE = Path(__file__).with_name("smoke.py")
MODULES = {
    "_accept", "_frames", "_ipk", "_ledger", "_messages", "_rows", "_shared_queue", "_stream",
}  # fmt: skip


def test_the_sdist_has_what_a_build_needs_and_nothing_built(sdist):
    with tarfile.open(sdist) as archive:
        held = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in archive.getnames()}
    tracked = subprocess.run(
        ["git", "ls-files", "ipckit", "tests", "docs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN,
        check=True,
    ).stdout.splitlines()
    assert {*tracked, "CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml"} <= held
    assert not [name for name in held if name.endswith((".so", ".pyc", ".o"))]
    assert not [name for name in held if name.split("/")[0] in {".ci", ".venv", "build", "dist"}]


def test_the_wheel_is_for_every_python_that_it_names(wheel):
    """No module of the wheel needs more than the stable interface of CPython 3.11."""
    assert "-cp311-abi3-" in wheel.name
    report = wheel.with_suffix(".json")
    tools = Path(sys.executable).parent
    run(tools / "abi3audit", "--strict", "--report", "-o", report, wheel, path=tools)
    (told,) = json.loads(report.read_text())["specs"].values()
    found = {each["name"]: each["result"] for each in told["wheel"]}
    assert found.keys() == {f"{name}.abi3.so" for name in MODULES}
    for name, result in found.items():
        assert result["is_abi3_baseline_compatible"], name
        assert result["baseline"] == "3.11", name


def test_the_wheel_holds_types_and_licence_and_no_sources(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        meta = next(name for name in held if name.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(archive.read(meta).decode())
    assert {"ipckit/py.typed", "ipckit/__init__.pyi"} <= held
    assert "ipckit/cli/top/page/app_index.html" in held
    assert {f"ipckit/_core/{name}.pyi" for name in MODULES} <= held
    assert meta.replace("METADATA", "licenses/LICENSE") in held
    assert not [name for name in held if name.endswith((".c", ".h")) or name.startswith("tests/")]
    assert told["License-Expression"] == "MIT"
    assert told["Requires-Python"] == ">=3.11"
    assert set(told.get_all("Provides-Extra")) == {"completion", "metrics", "testing", "top", "web"}


@pytest.mark.needs_ziglang
def test_the_published_wheel_says_which_linux_it_is_for(manylinux):
    platforms = manylinux.name.removesuffix(".whl").split("-cp311-abi3-")[1]
    assert platforms == "manylinux_2_28_x86_64"


@pytest.mark.needs_ziglang
def test_the_wheel_works_without_a_compiler(installed, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    said = run(installed, "-I", "-W", "error", SMOKE, path=empty, cwd=tmp_path)
    assert said == "answer b'HELLO\\n'\ndone\n"


@pytest.mark.needs_ziglang
def test_the_command_is_installed(installed):
    usage = run(installed.with_name("ipckit"), "--help", path=installed.parent)
    assert "usage: ipckit" in usage

"""What the build refuses: a wheel for newer systems than it names, a C library that is not glibc."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from deadlines import RUN

from .conftest import MANYLINUX, ROOT
from .manylinux import compiler

pytestmark = pytest.mark.needs_ziglang

NEWER = "int pidfd_open(int, unsigned); int main(void) { return pidfd_open(1, 0); }\n"
"""glibc has pidfd_open() since 2.36."""
NOWHERE = """
#include <unistd.h>
int of_no_library(void);
int module(void) { return getpid() + of_no_library(); }
"""
WARNINGS = (
    *("-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow"),
    *("-Wstrict-prototypes", "-Wmissing-prototypes", "-Werror"),
)
CORE = ROOT / "ipckit" / "_core"
LIBC = tuple(map(int, platform.libc_ver()[1].split(".")[:2]))


def compiled(folder: Path, target: str, *arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [compiler(folder, target), *arguments],
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )


def core_object(folder: Path, source: Path) -> list[str | Path]:
    # An object: the compiler of Zig makes a C library for the target before it does anything else.
    return [*WARNINGS, f"-I{CORE}", "-c", source, "-o", folder / "object.o"]


def with_module(wheel: Path, module: Path, folder: Path) -> Path:
    """The same wheel, with another library in the place of one of its modules."""
    made = folder / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(made, "w") as new:
        for entry in old.infolist():
            swapped = entry.filename.endswith("/_accept.abi3.so")
            new.writestr(entry, module.read_bytes() if swapped else old.read(entry))
    return made


def check(wheel: Path, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, MANYLINUX, "--check", wheel, folder],
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )


def test_a_function_that_glibc_2_28_lacks_is_an_error_of_the_build(tmp_path):
    (tmp_path / "code.c").write_text(NEWER)
    done = compiled(
        tmp_path, "x86_64-linux-gnu.2.28", tmp_path / "code.c", "-o", tmp_path / "program"
    )
    assert done.returncode != 0
    assert "pidfd_open" in done.stderr


@pytest.mark.skipif(LIBC < (2, 34), reason=f"glibc {LIBC} is too old to need a newer one")
def test_a_wheel_that_needs_a_newer_glibc_is_refused(wheel, tmp_path):
    """The one that pip builds on this machine: its timers are of glibc 2.34."""
    done = check(wheel, tmp_path / "out")
    assert done.returncode == 1
    assert re.search(r"^refused: .*needs .*timer_create of GLIBC_2\.34", done.stderr)
    assert not (tmp_path / "out").exists()


def test_a_wheel_with_a_function_of_no_library_is_refused(manylinux, tmp_path):
    """As a timer is before glibc 2.34, when librt was not linked: no version says so."""
    (tmp_path / "code.c").write_text(NOWHERE)
    made = ("cc", "-shared", "-fPIC", "-o", tmp_path / "code.so", tmp_path / "code.c")
    subprocess.run(made, check=True, timeout=RUN)
    done = check(with_module(manylinux, tmp_path / "code.so", tmp_path), tmp_path / "out")
    assert done.returncode == 1
    assert "_accept.abi3.so needs of_no_library of no library" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_published_wheel_passes_the_same_check(manylinux, tmp_path):
    done = check(manylinux, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / manylinux.name).exists()


def test_the_core_compiles_for_aarch64_without_a_warning(tmp_path):
    sources = sorted(path for path in CORE.rglob("*.c") if "python" not in path.parts)
    assert len(sources) > 20
    for source in sources:
        done = compiled(tmp_path, "aarch64-linux-gnu.2.28", *core_object(tmp_path, source))
        assert (done.returncode, done.stderr) == (0, "")


def test_musl_is_refused_in_a_sentence(tmp_path):
    done = compiled(tmp_path, "x86_64-linux-musl", *core_object(tmp_path, CORE / "base/word.c"))
    assert done.returncode != 0
    assert "ipckit needs glibc, not musl (Alpine): use an image such as" in done.stderr

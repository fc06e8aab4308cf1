"""Build the wheel that is published, for glibc 2.28 and newer, and refuse one that needs more.

    python tests/packaging/manylinux.py [--sdist FILE] [--check WHEEL] DIRECTORY

Contract  the wheel is built from the sdist by the C compiler of the package ziglang, which has the
          symbols of each glibc: a function that glibc 2.28 lacks is an error of the compiler or
          the linker. What then comes out is checked by `faults()` (no symbol is newer than 2.28,
          and each has a library), by auditwheel, and by abi3audit (the stable interface).
          DIRECTORY gets the repaired wheel, or nothing: the exit status is 1 and a sentence says
          what is wrong. `--check` builds nothing and repairs and checks the wheel that is given.
Needs     the group `wheel` of pyproject.toml. No root, no other system.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[2]
GLIBC = "2.28"
PLATFORM = "manylinux_2_28_x86_64"
_PYTHON = re.compile("_?Py")
COMPILER = """#!/bin/sh
exec {zig} cc -target {target} "$@"
"""


class Refused(Exception):
    """The wheel is not for the systems that its name would promise."""


def compiler(folder: Path, target: str) -> Path:
    """Make a program in `folder` that compiles C for `target`, and return its path."""
    found = importlib.util.find_spec("ziglang")
    if not found or not found.origin:
        raise Refused("the package ziglang is missing: pip install --group wheel")
    # Its program, not `python -m ziglang`: pip hides the packages of this Python from a build.
    path = folder / "cc"
    path.write_text(COMPILER.format(zig=Path(found.origin).with_name("zig"), target=target))
    path.chmod(0o755)
    return path


def run(*command: str | Path, **more) -> str:
    """Return what a command printed; Refused with all of it when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise Refused(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(sdist: Path, folder: Path) -> Path:
    """Build the wheel as pip does, with the compiler for glibc 2.28 and every warning an error."""
    made = folder / "built"
    run(
        *(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-cache-dir", "-w", made),
        *("-C", "cmake.define.IPK_WERROR=ON", sdist),
        env=os.environ | {"CC": str(compiler(folder, f"x86_64-linux-gnu.{GLIBC}"))},
    )
    (wheel,) = made.iterdir()
    return wheel


def faults(library: bytes) -> list[str]:
    """Return which symbols a module of a wheel needs that glibc 2.28 does not have, in words.

    A function without a version is of a library that was not linked, except those of Python. A
    newer glibc has it in itself all the same; an older one, which has it in librt, does not.
    """
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerSymSection

    elf = ELFFile(BytesIO(library))
    symbols, versions = elf.get_section_by_name(".dynsym"), elf.get_section_by_name(".gnu.version")
    if not isinstance(versions, GNUVerSymSection):
        raise Refused("a module has no versions of symbols: it was not linked with glibc")
    names = {
        version["vna_other"]: version.name
        for _, needed in elf.get_section_by_name(".gnu.version_r").iter_versions()
        for version in needed
    }
    found = []
    for number, symbol in enumerate(symbols.iter_symbols()):
        version = names.get(versions.get_symbol(number)["ndx"])
        if version is None:
            strong = symbol["st_info"]["bind"] == "STB_GLOBAL"
            if strong and symbol["st_shndx"] == "SHN_UNDEF" and not _PYTHON.match(symbol.name):
                found.append(f"{symbol.name} of no library")
        elif version.startswith("GLIBC_") and _parts(version[6:]) > _parts(GLIBC):
            found.append(f"{symbol.name} of {version}")
    return found


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def checked(wheel: Path, folder: Path) -> Path:
    """Return the wheel as it is published; Refused: it needs more than it may."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".so") and (found := faults(archive.read(name))):
                raise Refused(f"{wheel.name}: {name} needs {', '.join(found)}")
    tools = Path(sys.executable).parent
    path = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    repaired = folder / "repaired"
    repair = ("auditwheel", "repair", "--only-plat", "--plat", PLATFORM, "-w", repaired, wheel)
    run(sys.executable, "-m", *repair, env=path)
    (made,) = repaired.iterdir()
    if PLATFORM not in made.name:
        raise Refused(f"{made.name} is not for {PLATFORM}")
    run(tools / "abi3audit", "--strict", made, env=path)
    return made


def main() -> int:
    """Do what the arguments say; see the head."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sdist", type=Path, help="build from this one, not from the checkout")
    parser.add_argument("--check", type=Path, help="repair and check this wheel, build nothing")
    parser.add_argument("directory", type=Path)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            sdist = wanted.sdist
            if not wanted.check and not sdist:
                run(sys.executable, "-m", "build", "-q", "-s", "-o", folder / "sdist", ROOT)
                (sdist,) = (folder / "sdist").iterdir()
            made = checked(wanted.check or build(sdist, folder), folder)
        except Refused as why:
            print(f"refused: {why}", file=sys.stderr)
            return 1
        wanted.directory.mkdir(parents=True, exist_ok=True)
        print(made.replace(wanted.directory / made.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The suites on every supported Python that this machine has, and a table of what was green.

usage: tests/matrix.py [--roots "FOLDER ..."] [--rounds N] [--versions "3.12 ..."] [SUITE ...]

An interpreter is looked for on PATH, in pyenv's versions, and in each root: the folder of a Debian,
as debootstrap makes it, in which the suites run by pivot_root(2). Of each version the newest is taken.
`make build PYTHON=...` gives each an environment of its own, .venv-3.X. The C tests have no Python
in them and are not run here.

Exits with 1 if a suite was red on one of them, or if one could not be set up; with 2 if there was
none. The table is on stdout and in build/matrix/table.md, the output of each run beside it.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deadlines import LOOK

ROOT = Path(__file__).resolve().parents[1]
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
NEXT = ("3.15",)
SUITES: Mapping[str, Sequence[str]] = {
    "fast": ("unit", "property", "contract", "meta"),
    "agree": ("agree",),
    "harness": ("harness",),
    "seeded": ("seeded",),
    "docs": ("docs",),
    "system": ("system",),
    "packaging": ("packaging",),
    "inject": ("inject",),
    "smoke": (
        "contract",
        "system/connections/test_unix_reloads.py",
        "system/primitives/test_start_methods.py",
        "system/supervision/test_reload_wait.py",
        "system/tasks/test_tasks.py",
        *(
            f"seeded/test_seeded_bugs.py::test_a_bug_in_python_is_found[{machine}-0]"
            for machine in ("NonAtomicIncrement", "ReadOutsideTheLock", "LostWakeUp", "StealByPid")
        ),
    ),
}
NOT_ASKED = {"smoke"}
"""Parts of the others. Without a name all suites but these are run."""
SHARED = "/etc/resolv.conf /etc/hosts /etc/pip.conf /etc/xdg/pip /etc/ssl /opt/wheels /opt/pypi"
"""What a root has of the machine, if that has it: names of hosts, and how pip is set up."""
ASK = "import platform, sys; print(platform.python_version(), sys.abiflags or '-', platform.libc_ver()[1])"


@dataclass(frozen=True)
class Interpreter:
    """One that was found; `root` is the folder to which it is chrooted, "" for none."""

    path: str
    full: str  # 3.13.0, 3.15.0a2
    libc: str
    root: str = ""

    @property
    def version(self) -> str:
        return ".".join(self.full.split(".")[:2])

    @property
    def rank(self) -> tuple[int, int, int, str, int]:
        """What is newer is more; a, b and rc are in the order of the alphabet, before a release."""
        found = re.match(r"(\d+)\.(\d+)\.(\d+)(?:([a-z]+)(\d+))?", self.full)
        assert found, f"{self.path} says that it is Python {self.full}"
        major, minor, patch, stage, number = found.groups()
        return int(major), int(minor), int(patch), stage or "release", int(number or 0)


@dataclass(frozen=True)
class Result:
    """What came of one suite in all of its rounds."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Result) -> Result:
        return Result(
            self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        )

    @property
    def green(self) -> bool:
        return self.passed > 0 and self.failed == 0

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        if self.green:
            return f"{self.passed} passed{skipped}"
        return f"**{self.failed} failed**, {self.passed} passed{skipped}"


def newest(found: Iterable[Interpreter]) -> dict[str, Interpreter]:
    """Of each version the newest, in the order of the versions; the first of equals."""
    best: dict[str, Interpreter] = {}
    for each in found:
        if each.version not in best or each.rank > best[each.version].rank:
            best[each.version] = each
    return dict(sorted(best.items(), key=lambda item: item[1].rank))


def missing(found: Iterable[str]) -> str:
    """One sentence about the versions that are not here, "" if all are."""
    there = set(found)
    absent = [each for each in (*SUPPORTED, *NEXT) if each not in there]
    return f"Not on this machine: {', '.join(absent)}." if absent else ""


def table(results: Mapping[Interpreter, Mapping[str, Result]], suites: Sequence[str]) -> str:
    """The results as Markdown, one row for each interpreter."""
    lines = [
        "| Python | glibc | " + " | ".join(suites) + " |",
        "|---|---|" + "---|" * len(suites),
    ]
    for each, cells in results.items():
        row = [str(cells[suite]) if suite in cells else "**not set up**" for suite in suites]
        lines.append(f"| {each.full} | {each.libc} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def counted(report: Path) -> Result:
    """The numbers of a report that pytest wrote; one failure if it wrote none."""
    try:
        suites = list(ET.parse(report).getroot().iter("testsuite"))
    except (FileNotFoundError, ET.ParseError):
        return Result(failed=1)
    numbers = {
        word: sum(int(each.get(word, 0)) for each in suites)
        for word in ("tests", "failures", "errors", "skipped")
    }
    failed = numbers["failures"] + numbers["errors"]
    return Result(numbers["tests"] - failed - numbers["skipped"], failed, numbers["skipped"])


def asked(command: Sequence[str], path: str, root: str = "") -> Interpreter | None:
    """What an interpreter says of itself; None: it does not run, or is free-threaded."""
    try:
        done = subprocess.run(
            [*command, "-c", ASK], capture_output=True, text=True, timeout=LOOK, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    full, flags, libc = (*done.stdout.split(), "?")[:3]
    return Interpreter(path, full, libc, root) if flags == "-" else None


def look(roots: Sequence[str]) -> list[Interpreter]:
    """Every interpreter of a version that is asked for."""
    found = []
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for version in (*SUPPORTED, *NEXT):
        paths = [*map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}")))]
        on_path = shutil.which(f"python{version}")
        found += [asked([path], path) for path in [*paths, *([on_path] if on_path else [])]]
        for root in roots:
            path = f"/usr/bin/python{version}"
            if os.path.lexists(root + path):
                found.append(asked(["chroot", root, path], path, root))
    return [each for each in found if each]


def inside(interpreter: Interpreter, command: str) -> list[str]:
    """The command that runs one of ours where the interpreter is."""
    if not interpreter.root:
        return ["bash", "-c", command]
    # In mounts of its own, which end with it. pivot_root(2), not chroot(2): in a chroot no process
    # may make a user namespace, or change the propagation of mounts. What pip needs is the machine's.
    here, root = shlex.quote(str(ROOT)), shlex.quote(interpreter.root)
    script = f"""
set -e
mount --make-rprivate /
mount --bind {root} {root}
for folder in proc sys dev; do mount --rbind /$folder {root}/$folder; done
for path in {here} {SHARED}; do
  if [ -d $path ]; then mkdir -p {root}$path
  elif [ -e $path ]; then mkdir -p $(dirname {root}$path); touch {root}$path
  else continue; fi
  mount --bind $(readlink -f $path) {root}$path
done
cd {root}
pivot_root . .
umount -l .
cd {here}
{command}
"""
    return ["unshare", "--mount", "bash", "-c", script]


def run(interpreter: Interpreter, command: str, log: Path) -> int:
    """Run it there; its output goes to the log. Return its exit status."""
    with log.open("wb") as file:
        return subprocess.run(
            inside(interpreter, command), cwd=ROOT, stdout=file, stderr=file, check=False
        ).returncode


def suite_on(interpreter: Interpreter, suite: str, logs: Path, turn: int) -> Result:
    """One suite, once."""
    name = f"{interpreter.version}-{suite}-{turn}"
    report, python = logs / f"{name}.xml", f".venv-{interpreter.version}/bin/python"
    report.unlink(missing_ok=True)
    paths = " ".join(shlex.quote(f"tests/{each}") for each in SUITES[suite])
    together = shlex.quote(f"2*popen//python={python} tests/leaks.py")
    code = run(
        interpreter,
        f"{python} -m pytest -q --no-header --dist worksteal --tx {together} "
        f"--junitxml={report.relative_to(ROOT)} {paths}",
        logs / f"{name}.log",
    )
    result = counted(report)
    return result if code == 0 or result.failed else result + Result(failed=1)


def main() -> int:
    """See the head."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--roots", default="", help="folders of a Debian, with blanks between")
    parser.add_argument("--rounds", type=int, default=1, help="so many times each")
    parser.add_argument("--versions", default="", help="only these, with blanks between")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}")
    options = parser.parse_args()
    if unknown := [each for each in options.suites if each not in SUITES]:
        parser.error(f"there is no suite {unknown[0]}: take one of {', '.join(SUITES)}")
    suites = options.suites or [each for each in SUITES if each not in NOT_ASKED]
    logs = ROOT / "build/matrix"
    logs.mkdir(parents=True, exist_ok=True)
    found = newest(look(options.roots.split()))
    if options.versions:
        found = {each: found[each] for each in options.versions.split() if each in found}
    results: dict[Interpreter, dict[str, Result]] = {}
    for version, each in found.items():
        where = f"{each.path} in {each.root}" if each.root else each.path
        print(f"Python {each.full}, {where}", flush=True)
        cells = results[each] = {}
        setup = logs / f"{version}-setup.log"
        if run(each, f"make -s build PYTHON={shlex.quote(each.path)}", setup) != 0:
            print(f"  it could not be set up: {setup}", flush=True)
            continue
        for suite in suites:
            cells[suite] = Result()
            for turn in range(1, options.rounds + 1):
                cells[suite] += suite_on(each, suite, logs, turn)
            print(f"  {suite}: {cells[suite]}", flush=True)
    rounds = f", {options.rounds} rounds" if options.rounds > 1 else ""
    machine = f"Linux {platform.release()}, {os.cpu_count()} CPUs"
    told = f"{time.strftime('%Y-%m-%d')}, {machine}{rounds}. {missing(found)}"
    text = f"{table(results, suites)}\n\n{told.rstrip()}"
    (logs / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    if not found:
        return 2
    all_green = all(
        len(cells) == len(suites) and all(each.green for each in cells.values())
        for cells in results.values()
    )
    return 0 if all_green else 1


if __name__ == "__main__":
    sys.exit(main())

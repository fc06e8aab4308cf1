"""Rules of the repository that a script can judge."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 500  # lines of one Python file
LONGEST_C = 450
MOST = 20  # files of one folder
FINDINGS = ROOT / "findings"

SOURCES = sorted(
    path
    for folder in ("ipckit", "tests", "bench", "examples")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".c", ".h"}
)
TESTS = [path for path in SOURCES if path.is_relative_to(ROOT / "tests") and path.suffix == ".py"]
CONTRACTS = sorted((ROOT / "docs/contracts").glob("*.md"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def offenders(paths: list[Path], pattern: str) -> list[str]:
    found = re.compile(pattern, re.MULTILINE)
    return [name(path) for path in paths if found.search(path.read_text())]


def test_real_time_signals_have_one_place():
    """F19: process/signals.h names every real-time signal in use, so no signal has two owners."""
    core = [path for path in SOURCES if path.is_relative_to(ROOT / "ipckit")]
    code = r"^(?!Signals ).*\bSIGRTM(?:AX|IN)\b"
    assert offenders(core, code) == ["ipckit/_core/process/signals.h"]


def test_no_test_sleeps_or_mocks():
    """Tests wait for what happens, with a deadline, and use the real thing or a fake of our own."""
    # The one exception waits for the kernel to reap, after the test and with a deadline.
    tests = [path for path in TESTS if path != ROOT / "tests/conftest.py"]
    asleep = r"\btime\.sleep\(|^from time import .*\bsleep\b"
    mocked = r"^\s*(?:import|from) (?:unittest\.)?mock\b|^\s*from unittest import .*\bmock\b"

    assert offenders(tests, asleep) == []
    assert offenders(tests, mocked) == []


def test_a_deadline_has_one_place():
    """What ends a hang is LOOK or RUN of tests/deadlines.py: a number that is less decides on a busy machine."""
    tests = [path for path in TESTS if "inject" not in path.parts]
    wait = r"(?:communicate\(timeout=|settimeout\(|\w\.join\(|process\.wait\()[1-9][\d.]*\)"
    command = (
        r"^ +timeout=[1-9]\d*,$|(?:check|text|output)=True, timeout=[1-9]|timeout=[1-9]\d*, check="
    )
    assert offenders(tests, wait) == []
    assert offenders(tests, command) == []


def test_a_posix_queue_of_a_test_is_small():
    """All processes of a user share RLIMIT_MSGQUEUE: ten queues of the usual size are too many."""
    large = r"^(?!.*max_message).*(?:= |with |, )PosixQueue\.create\("
    assert offenders(TESTS, large) == ["tests/packaging/smoke.py"]  # alone, in its own process


def test_no_file_is_too_long():
    """A file can be read in one go."""
    sizes = {path: len(path.read_text().splitlines()) for path in SOURCES}
    limits = {path: LONGEST if path.suffix == ".py" else LONGEST_C for path in SOURCES}
    long = [path for path, size in sizes.items() if size > limits[path]]
    assert [f"{name(path)}: {sizes[path]}" for path in long] == []


def test_the_table_of_findings_is_complete():
    """Each script has one row in the table, in order, and says what it shows and where it was seen."""
    scripts = sorted(path.name for path in FINDINGS.glob("*.sh"))
    rows = re.findall(r"^\| `([^`]+)` \|", (FINDINGS / "README.md").read_text(), re.MULTILINE)
    assert rows == scripts
    parts = ("# Behaviour: ", "# Seen:      ", "# Source:    ", "set -euo pipefail\n")
    assert [
        name for name in scripts if not all(p in (FINDINGS / name).read_text() for p in parts)
    ] == []


def test_no_folder_is_too_full():
    """A folder can be seen in one look: what git keeps of it, without its subfolders. The findings
    are a list, whose README is its table."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).exists()]
    assert len(paths) > 400, "git knows the sources"
    count = Counter(path.parent for path in paths)
    full = [folder for folder, files in count.items() if files > MOST and folder != FINDINGS]
    assert [f"{name(path)}: {count[path]}" for path in full] == []


def test_changelog_fragments():
    """Every fragment has a part and a kind that the changelog knows, and something to say."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    kinds = {kind["directory"] for kind in settings["type"]}
    parts = {part["path"] for part in settings["section"]}
    fragments = [path for path in (ROOT / settings["directory"]).rglob("*") if path.is_file()]
    assert fragments
    for path in fragments:
        part = path.parent.relative_to(ROOT / settings["directory"])
        assert str(part) in parts, f"{name(path)}: the parts are {sorted(parts)}"
        assert path.name.split(".")[-2] in kinds, f"{name(path)}: the kinds are {sorted(kinds)}"
        assert path.read_text().strip(), f"{name(path)} is empty"


def test_numbers_of_decisions():
    """A decision is cited by its number alone, so no two parts have the same one."""
    numbers = [path.name[:4] for path in (ROOT / "docs/design/decisions").glob("*/*.md")]
    assert len(numbers) >= 24
    assert [number for number, times in Counter(numbers).items() if times > 1] == []


@pytest.mark.parametrize("page", CONTRACTS, ids=lambda path: path.stem)
def test_every_rule_has_a_test_that_names_it(page):
    """A test names its rules in its own name, test_c3_..., or at the head of its docstring, `C2, C3:`."""
    rules = re.findall(r"^- \*\*([A-Z]\d+)\*\*", page.read_text(), re.MULTILINE)
    assert rules, f"{name(page)} has no rules of the form `- **X1** ...`"
    assert len(rules) == len(set(rules)), (
        f"{name(page)}: two rules have one number: {sorted(rules)}"
    )
    named = set()
    for path in TESTS:
        text = path.read_text()
        for head in re.findall(r"def test_((?:[a-z]\d+_)+)", text):
            named |= {rule.upper() for rule in head.split("_")}
        for head in re.findall(r'"""((?:[A-Z]\d+, )*[A-Z]\d+): ', text):
            named |= set(head.split(", "))
    assert [rule for rule in rules if rule not in named] == []

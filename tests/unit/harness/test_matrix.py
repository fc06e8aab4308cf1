"""The matrix of Pythons: which interpreter is taken, what is missing, when a row is red."""

from __future__ import annotations

import subprocess
import sys

import pytest
from deadlines import LOOK
from matrix import (
    NEXT,
    ROOT,
    SUITES,
    SUPPORTED,
    Interpreter,
    Result,
    counted,
    missing,
    newest,
    table,
)

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="{errors}" failures="{failures}" skipped="{skipped}" tests="{tests}"/></testsuites>
"""


def made(full: str, path: str = "") -> Interpreter:
    return Interpreter(path or f"/usr/bin/python{full}", full, "2.36")


def test_of_each_version_the_newest_is_taken():
    found = [made(each) for each in ("3.13.0", "3.9.18", "3.11.7", "3.13.11", "3.11.2", "3.13.9")]
    assert [each.full for each in newest(found).values()] == ["3.9.18", "3.11.7", "3.13.11"]


def test_a_release_is_newer_than_its_candidates():
    found = [made(each) for each in ("3.15.0rc2", "3.15.0", "3.15.0a7")]
    assert newest(found)["3.15"].full == "3.15.0"
    assert newest(found[::2])["3.15"].full == "3.15.0rc2"


def test_the_first_of_two_that_are_equal_is_taken():
    found = [made("3.12.1", "/pyenv/python3.12"), made("3.12.1", "/usr/bin/python3.12")]
    assert newest(found)["3.12"].path == "/pyenv/python3.12"


def test_what_is_missing_is_named():
    assert missing([*SUPPORTED, *NEXT]) == ""
    assert missing(["3.11", "3.13"]) == "Not on this machine: 3.12, 3.14, 3.15."


@pytest.mark.parametrize(
    ("numbers", "expected", "green"),
    [
        ({"tests": 10, "failures": 0, "errors": 0, "skipped": 2}, "8 passed, 2 skipped", True),
        ({"tests": 10, "failures": 0, "errors": 0, "skipped": 0}, "10 passed", True),
        ({"tests": 10, "failures": 1, "errors": 2, "skipped": 0}, "**3 failed**, 7 passed", False),
        ({"tests": 0, "failures": 0, "errors": 0, "skipped": 0}, "**0 failed**, 0 passed", False),
    ],
)
def test_the_numbers_of_a_report(tmp_path, numbers, expected, green):
    """No test that ran is not green either."""
    report = tmp_path / "report.xml"
    report.write_text(REPORT.format(**numbers))
    assert str(counted(report)) == expected and counted(report).green is green


def test_a_run_without_a_report_is_red(tmp_path):
    assert not counted(tmp_path / "none.xml").green
    (tmp_path / "cut.xml").write_text("<testsuites><testsuite tests=")
    assert not counted(tmp_path / "cut.xml").green


def test_one_red_round_of_three_is_red():
    assert not sum([Result(5), Result(4, failed=1), Result(5)], start=Result()).green


def test_the_table_has_a_row_for_each_and_says_which_could_not_be_set_up():
    results = {
        made("3.11.7"): {"fast": Result(100, skipped=1), "seeded": Result(17)},
        made("3.14.2"): {},
    }
    assert table(results, ["fast", "seeded"]).splitlines() == [
        "| Python | glibc | fast | seeded |",
        "|---|---|---|---|",
        "| 3.11.7 | 2.36 | 100 passed, 1 skipped | 17 passed |",
        "| 3.14.2 | 2.36 | **not set up** | **not set up** |",
    ]


def test_each_folder_of_suites_is_in_the_matrix():
    """A new folder of tests must be given its place. Some have no Python of ours, or no tests, and
    roots/ has Pythons of its own."""
    others = {"c", "weak", "steps", "helpers", "roots", "__pycache__"}
    folders = {each.name for each in (ROOT / "tests").iterdir() if each.is_dir()} - others
    assert folders == {path.split("/")[0] for suite in SUITES.values() for path in suite}


def test_each_path_of_a_suite_is_there():
    paths = [path.split("::")[0] for suite in SUITES.values() for path in suite]
    assert [path for path in paths if not (ROOT / "tests" / path).exists()] == []


def test_a_suite_that_is_not_there_is_refused():
    done = subprocess.run(
        [sys.executable, ROOT / "tests/matrix.py", "fats"],
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    assert done.returncode == 2 and "there is no suite fats" in done.stderr

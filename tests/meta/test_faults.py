"""The page of mended faults names tests that exist, one or more for each of the 47."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/design/faults.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:tests|docs)/[^`]+)`", PAGE)))


def test_every_fault_has_its_row():
    assert re.findall(r"^\| (F\d+) \|", PAGE, re.MULTILINE) == [f"F{n}" for n in range(1, 48)]


def test_every_row_names_a_test_or_a_page():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
    rows = [row for row in rows if not row.endswith(("| tests |", "| test or page |"))]
    assert [row for row in rows if not re.search(r"`(?:tests|docs)/[^`]+` ?[,|]", row)] == []


@pytest.mark.parametrize("named", NAMED)
def test_what_it_names_is_there(named):
    file, _, name = named.partition("::")
    path = ROOT / file.partition("#")[0]
    assert path.exists()
    if name:
        defined = rf"def {name}\(|^{name} = "
        assert re.search(defined, path.read_text(), re.MULTILINE), f"no {name} in {file}"

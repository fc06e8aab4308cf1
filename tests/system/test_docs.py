"""Every Python block of the pages runs as it stands, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ipckit.server.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.rglob("*.md"))
    if "decisions" not in page.parts
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr


def test_the_table_of_settings_is_true():
    page = (DOCS / "reference/server.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `.*?` \| (.*) \|$", page, re.MULTILINE))
    assert set(Settings.names()) <= set(rows)

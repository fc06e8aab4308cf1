"""What the type checkers of users see of the installed wheel: user_code.py, and what it must not do."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import RUN

CODE = Path(__file__).with_name("user_code.py")
WRONG = re.compile(r"# wrong$")


def mypy(installed: Path, file: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"),
        *("--cache-dir", str(file.parent / "cache"), "--python-executable", str(installed)),
        str(file),
    ]


def pyright(installed: Path, file: Path) -> list[str]:
    (file.parent / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    program = Path(sys.executable).with_name("basedpyright")
    return [str(program), "--level", "error", "--pythonpath", str(installed), str(file)]


@pytest.mark.needs_ziglang
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_the_public_types_are_known(checker, installed, tmp_path):
    """Each line of user_code.py is right, but those that say they are wrong, which are refused."""
    file = tmp_path / "user_code.py"
    shutil.copy(CODE, file)
    done = subprocess.run(
        checker(installed, file),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )
    refused = {int(line) for line in re.findall(r"user_code\.py:(\d+):.*error", done.stdout)}
    lines = enumerate(CODE.read_text().splitlines(), 1)
    assert refused == {number for number, line in lines if WRONG.search(line)}, done.stdout

"""The import rules of pyproject.toml are awake: each refuses what it forbids, and names both sides.

Each test edits a copy of the sources and asks import-linter about the copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from deadlines import RUN

ROOT = Path(__file__).parents[2]

# -I -S: without site, so without the hook by which an editable installation would put the checkout
# in the place of the copy.
LINT = """
import sys
sys.path[:0] = sys.argv.pop(1).split(":")
from importlinter.cli import lint_imports_command
lint_imports_command()
"""


@pytest.fixture
def copy(tmp_path):
    for source in (ROOT / "ipckit").rglob("*.py"):
        target = tmp_path / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(copy: Path, contract: str) -> tuple[int, str]:
    """import-linter's exit code, and what it said in one line."""
    paths = dict.fromkeys([str(copy), *(sysconfig.get_path(p) for p in ("purelib", "platlib"))])
    python = (sys.executable, "-I", "-S", "-c", LINT, ":".join(paths))
    done = subprocess.run(
        [*python, "--no-logo", "--no-cache", "--contract", contract],
        cwd=copy,
        env=os.environ | {"COLUMNS": "400"},
        check=False,
        capture_output=True,
        text=True,
        timeout=RUN,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def append(copy: Path, module: str, line: str) -> None:
    with (copy / module).open("a") as file:
        file.write(f"\n{line}\n")


def test_the_sources_keep_the_rule(copy):
    """Unchanged sources pass, so the other tests fail for their edit and nothing else."""
    code, said = lint(copy, "tiers")
    assert code == 0, said
    assert "1 kept, 0 broken" in said


@pytest.mark.parametrize(
    ("module", "importer", "imported"),
    [
        ("ipckit/queue/sysv.py", "ipckit.queue", "ipckit.channel"),
        ("ipckit/framing/framers.py", "ipckit.framing", "ipckit.client"),
        ("ipckit/errors.py", "ipckit.errors", "ipckit.kinds"),
    ],
    ids=["sideways", "upwards", "sideways below"],
)
def test_a_forbidden_import_is_refused(copy, module, importer, imported):
    """A primitive that imports another, or a tier above, breaks the rule; both are named."""
    append(copy, module, f"import {imported}")
    code, said = lint(copy, "tiers")

    assert code == 1
    assert f"{importer} is not allowed to import {imported}" in said


def test_a_primitive_to_come_is_under_the_rule_at_once(copy):
    """A new primitive with its place in the layers may not be imported by another one."""
    if not (copy / "ipckit/table").exists():
        (copy / "ipckit/table").mkdir()
        (copy / "ipckit/table/__init__.py").touch()
        settings = (copy / "pyproject.toml").read_text()
        assert settings.count('"keys | queue |') == 1
        settings = settings.replace('"keys | queue |', '"keys | table | queue |')
        (copy / "pyproject.toml").write_text(settings)
    assert lint(copy, "tiers")[0] == 0

    append(copy, "ipckit/queue/sysv.py", "import ipckit.table")
    code, said = lint(copy, "tiers")
    assert code == 1
    assert "ipckit.queue is not allowed to import ipckit.table" in said


def test_a_folder_without_a_place_is_refused(copy):
    """The author of a new module of ipckit has to say which tier it is in."""
    (copy / "ipckit/newcomer").mkdir()
    (copy / "ipckit/newcomer/__init__.py").touch()
    code, said = lint(copy, "tiers")

    assert code == 1
    assert "newcomer" in said


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("ipckit/server/shared/sessions.py", "ipckit.server.tasks.ledger"),
        ("ipckit/server/connections/registry.py", "ipckit.server.tasks.spill"),
        ("ipckit/server/system/fork.py", "ipckit.server.processes.process"),
        ("ipckit/server/log.py", "ipckit.server.api.server"),
    ],
    ids=["upwards", "sideways", "upwards from the ground", "all the way up"],
)
@pytest.mark.parametrize("how", ["import {}", "if TYPE_CHECKING:\n    import {}"])
def test_a_room_of_the_server_imports_from_below_only(copy, module, imported, how):
    """A type counts as well."""
    append(copy, module, "from typing import TYPE_CHECKING\n" + how.format(imported))
    code, said = lint(copy, "server-rooms")
    assert code == 1
    room = ".".join(module.split("/")[:3]).removesuffix(".py")
    assert f"{room} is not allowed to import {'.'.join(imported.split('.')[:3])}" in said


def test_a_room_without_a_place_is_refused(copy):
    (copy / "ipckit/server/cellar").mkdir()
    (copy / "ipckit/server/cellar/__init__.py").touch()
    code, said = lint(copy, "server-rooms")
    assert code == 1
    assert "cellar" in said


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("ipckit/server/processes/process.py", "ipckit.server.processes.worker"),
        ("ipckit/server/connections/host.py", "ipckit.server.connections.connection"),
    ],
)
def test_a_circle_within_a_room_is_refused(copy, module, imported):
    assert lint(copy, "server-acyclic")[0] == 0
    append(
        copy, module, f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {imported}"
    )
    code, said = lint(copy, "server-acyclic")
    assert code == 1
    assert "No cycles are allowed in ipckit.server" in said


@pytest.mark.parametrize(
    ("module", "part"),
    [
        ("ipckit/framing/framers.py", "ipckit.framing"),
        ("ipckit/channel/frames.py", "ipckit.channel.frames"),
        ("ipckit/testing/programs/schedules.py", "ipckit.testing.programs"),
    ],
)
def test_a_pure_part_may_not_do_io(copy, module, part):
    """The parts that are tested without processes import nothing that could wait."""
    assert lint(copy, "pure")[0] == 0

    append(copy, module, "import socket")
    code, said = lint(copy, "pure")
    assert code == 1
    assert f"{part} is not allowed to import socket" in said


TYPES_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import "


@pytest.mark.parametrize(
    ("contract", "module", "imported"),
    [
        ("testing", "ipckit/testing/histories/values.py", "ipckit.testing.judging.checker"),
        ("testing", "ipckit/testing/judging/fifo.py", "ipckit.testing.programs.acts"),
        ("testing", "ipckit/testing/engines/common.py", "ipckit.testing.machine"),
        ("cli", "ipckit/cli/answers.py", "ipckit.cli.inventory.entry"),
        ("cli", "ipckit/cli/bench/rounds.py", "ipckit.cli.demo.mail"),
    ],
)
@pytest.mark.parametrize("how", ["import ", TYPES_ONLY], ids=["import", "for types only"])
def test_an_import_between_rooms_is_refused(copy, contract, module, imported, how):
    """A room imports from the rooms below it, neither upwards nor sideways; types count."""
    append(copy, module, f"{how}{imported}")
    code, said = lint(copy, contract)
    importer = ".".join(module.removesuffix(".py").split("/")[:3])
    assert code == 1
    assert f"{importer} is not allowed to import {'.'.join(imported.split('.')[:3])}" in said


@pytest.mark.parametrize("contract", ["testing", "cli", "circles"])
def test_the_rooms_keep_their_rules(copy, contract):
    """Unchanged sources pass, so the other tests fail for their edit and nothing else."""
    code, said = lint(copy, contract)
    assert code == 0, said


@pytest.mark.parametrize("contract", ["testing", "cli"])
def test_a_room_without_a_place_is_refused(copy, contract):
    """A new module needs a place among the others."""
    (copy / f"ipckit/{contract}/newcomer.py").touch()
    code, said = lint(copy, contract)
    assert code == 1
    assert "newcomer" in said


@pytest.mark.parametrize("how", ["import ", TYPES_ONLY], ids=["import", "for types only"])
def test_a_circle_is_refused(copy, how):
    """Two modules of one folder that import each other; types count."""
    append(copy, "ipckit/testing/programs/acts.py", f"{how}ipckit.testing.programs.preemptions")
    code, said = lint(copy, "circles")
    assert code == 1
    assert "No cycles are allowed in ipckit.testing.programs" in said

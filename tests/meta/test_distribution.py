"""Another project owns `ipckit` on the package index: the first import error says so, in a sentence."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import RUN

from ipckit._distribution import OURS, clash, why_not

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path):
    """A folder with our package, of which another one's removal has taken the channels."""
    for source in (ROOT / "ipckit").glob("*.py"):
        (tmp_path / "ipckit").mkdir(exist_ok=True)
        shutil.copy(source, tmp_path / "ipckit")
    distribution(tmp_path, OURS)
    return tmp_path


def no_modules(_folder, names):
    return [name for name in names if name.endswith(".so")]


def distribution(site: Path, name: str) -> None:
    folder = site / f"{name.replace('-', '_')}-9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
    (folder / "top_level.txt").write_text("ipckit\n")


def first_error(site: Path, line: str) -> str:
    """The last line of what Python prints about `line`, with `site` as the only installation."""
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(site)!r}); {line}",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=RUN,
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("other", ["ipckit", "IPCKit-Python"])
def test_a_clash_is_said_in_one_sentence(site, other):
    """The sentence names the other distribution, what it did, and the two commands that help."""
    distribution(site, other)
    said = first_error(site, "from ipckit import Channel")

    assert said == (
        f"ImportError: the distribution {other!r} installed another package named 'ipckit' over "
        f"this one: run `pip uninstall {other}` and then `pip install --force-reinstall {OURS}`"
    )


def test_a_foreign_module_in_the_place_of_ours(site):
    """A module that lacks our name is the same clash, with the same sentence."""
    distribution(site, "ipckit")
    (site / "ipckit/channel.py").write_text("Pipe = object\n")

    assert "run `pip uninstall ipckit`" in first_error(site, "from ipckit import Channel")


def test_without_a_clash_the_error_is_the_original_one(site):
    """No other distribution, no sentence: the module that is missing is named."""
    said = first_error(site, "from ipckit import Channel")
    assert said == "ModuleNotFoundError: No module named 'ipckit.channel'"


def test_the_other_distribution_does_no_harm_while_all_is_there(site):
    """Nothing is said as long as imports succeed."""
    distribution(site, "ipckit")
    said = first_error(site, "from ipckit import NotFound; sys.exit(NotFound.__name__)")
    assert said == "NotFound"


def test_this_installation_has_no_clash():
    """The tests run against one ipckit."""
    assert clash() == ""


def test_a_checkout_with_another_environment_says_what_to_do(site):
    """The C core was built for another Python, or not at all: it is no bare ModuleNotFoundError."""
    shutil.copytree(ROOT / "ipckit" / "_core", site / "ipckit" / "_core", ignore=no_modules)
    shutil.copytree(ROOT / "ipckit" / "table", site / "ipckit" / "table")
    for line in ("from ipckit import Table", "import ipckit._core"):
        said = first_error(site, line)
        assert said.startswith("ImportError: ipckit's C core is not there for this Python, ")
        assert sys.executable in said and "`make setup`" in said


def test_a_dependency_that_is_missing_is_named(site):
    """With the way to have it."""
    shutil.copytree(ROOT / "ipckit" / "queue", site / "ipckit" / "queue")
    (site / "ipckit" / "_core").mkdir()
    (site / "ipckit" / "_core" / "__init__.py").write_text("import cffi")
    said = first_error(site, "from ipckit import SysvQueue")
    assert said.startswith("ImportError: ipckit needs the module 'cffi', which is not there")
    assert f"`pip install {OURS}`" in said


def test_another_import_error_stays_what_it_is():
    assert why_not(ModuleNotFoundError("no", name="mine")) == ""
    assert why_not(ImportError("cannot import name")) == ""

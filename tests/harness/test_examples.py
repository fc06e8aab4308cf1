"""The examples of the page about the harness: the wrong objects fail, the right ones pass."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from ipckit.testing import PropertyFailed
from ipckit.testing.search.search import run_machine

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "harness"
EXAMPLES = {
    "flock_counter": ("WrongFile", "RightFile"),
    "multiprocessing_value": ("WrongValue", "RightValue"),
    "rate_limiter_machine": ("WrongLimiter", "RightLimiter"),
    "sqlite_queue": ("WrongQueue", "RightQueue"),
}


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tried():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_wrong_one_fails_and_the_right_one_passes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    # Found is enough here: tests/seeded shows what becomes of it.
    monkeypatch.setattr("ipckit.testing.search.search.options.seed", 2)  # the same work each time
    monkeypatch.setattr("ipckit.testing.search.search.SHRINKING", 0.0)
    monkeypatch.setattr("ipckit.testing.search.search.simplify", lambda search, found: found)
    wrong, right = (getattr(loaded(name), each) for each in EXAMPLES[name])
    with pytest.raises(PropertyFailed, match=f"not linearizable: {wrong.__name__}: "):
        run_machine(wrong)
    right.examples, right.runs = 15, 2
    run_machine(right)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_shows_it_as_it_is(name):
    page = (ROOT / "docs" / "harness.md").read_text()
    assert f"examples/harness/{name}.py" in page

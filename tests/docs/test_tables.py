"""The pages for those who come from elsewhere leave nothing out, and name what there is."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import multiprocessing.managers
import multiprocessing.pool
import multiprocessing.queues
import multiprocessing.shared_memory
import multiprocessing.sharedctypes
import queue
import re
import tomllib
from pathlib import Path

import pytest
from pages import ROOT, blocks

DOCS = ROOT / "docs"
MODULES = [
    concurrent.futures,
    multiprocessing,
    multiprocessing.connection,
    multiprocessing.managers,
    multiprocessing.pool,
    multiprocessing.queues,
    multiprocessing.shared_memory,
    multiprocessing.sharedctypes,
    queue,
]
CLASSES = [
    concurrent.futures.Future,
    multiprocessing.Process,
    multiprocessing.connection.Connection,
    multiprocessing.pool.AsyncResult,
    multiprocessing.pool.Pool,
    multiprocessing.queues.Queue,
    multiprocessing.shared_memory.SharedMemory,
    queue.Queue,
]
OF_THE_POOLS_OWN = {"set_running_or_notify_cancel"}


def words(page: str) -> set[str]:
    """Every word that the page sets as code."""
    text = (DOCS / page).read_text()
    return set(re.findall(r"\w+", " ".join(re.findall(r"`[^`\n]+`", text))))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_name_of_multiprocessing_has_its_counterpart(module):
    told = words("explanation/from-multiprocessing.md")
    assert [name for name in module.__all__ if name not in told] == []


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__qualname__)
def test_every_method_has_its_counterpart(cls):
    told = words("explanation/from-multiprocessing.md") | OF_THE_POOLS_OWN
    names = [name for name in dir(cls) if not name.startswith("_")]
    assert [name for name in names if name not in told] == []


def test_every_limit_is_one_of_this_kernel():
    page = (DOCS / "how-to/limits.md").read_text()
    names = set(re.findall(r"^\| `((?:kernel|fs|net)\.[\w.]+)`", page, re.MULTILINE))
    assert len(names) == 8
    where = [Path("/proc/sys", *name.split(".")) for name in names]
    assert [str(path) for path in where if not path.exists()] == []


def test_the_first_server_is_the_readmes():
    """The program of the README is the one that the first ten minutes were done with."""
    programs = {block.text for block in blocks(ROOT / "README.md")}
    (hello,) = [b for b in blocks(DOCS / "first-ten-minutes.md") if b.said == "hello.py"]
    assert hello.text in programs


def test_every_public_word_is_in_the_glossary_with_its_chinese():
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \|", (DOCS / "glossary.md").read_text(), re.MULTILINE
    )
    terms = [(term, chinese) for term, chinese in rows if term not in {"term", "---"}]
    assert [term for term, chinese in terms if not re.search(r"[\u4e00-\u9fff]", chinese)] == []
    told = " ".join(term for term, _ in terms)
    for word in ("worker", "task worker", "manager", "`Table`", "row lock", "message queue", "ledger",
                 "dead letter", "reload", "framing", "heartbeat", "session"):  # fmt: skip
        assert word in told, word


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/explanation/design.md"])
def test_the_tiers_are_those_that_import_linter_enforces(page):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [c["layers"] for c in settings["contracts"] if c["id"] == "tiers"]
    enforced = {name for layer in layers for name in re.findall(r"\w+", layer)} - {"__main__"}
    rows = re.findall(r"^\| [0-4] \| ([^|]+) \|", (ROOT / page).read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(?:ipckit\.)?(\w+)`", row)} == enforced


def named_tests() -> set[str]:
    return {
        f"{path.stem}::{name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }


def test_what_is_said_of_deaths_names_named_tests():
    page = (DOCS / "explanation/crashes.md").read_text()
    section = page[page.index("## Where it is tried") :]
    named = set(re.findall(r"`(\w+::\w+)`", section))
    files = set(re.findall(r"`(\w+\.c)`", section))
    assert len(named) > 25 and len(files) == 4
    assert named - named_tests() == set()
    assert [name for name in files if not list((ROOT / "tests/c").rglob(name))] == []


def test_each_change_of_user_code_names_named_tests():
    page = (DOCS / "explanation/user-code.md").read_text()
    rows = re.findall(r"^\| (?!what user code does|where they begin|-)(.+)$", page, re.MULTILINE)
    assert len(rows) > 20
    untested = [row for row in rows if "::" not in row and "not promised" not in row]
    assert untested == []
    assert set(re.findall(r"`(\w+::\w+)`", page)) - named_tests() == set()

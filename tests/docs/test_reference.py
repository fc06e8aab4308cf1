"""The reference pages say what the code does: names, defaults, ranges, bases, and where a call works."""

from __future__ import annotations

import argparse
import inspect
import queue
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from deadlines import RUN

import ipckit.cli
import ipckit.errors
import ipckit.testing.models
from ipckit import Server, SysvQueue, ftok, msg_receive
from ipckit.server.config import events
from ipckit.server.config.settings import Settings
from ipckit.testing.spec import Machine

DOCS = Path(__file__).parents[2] / "docs"
SERVER, SETTINGS, EVENTS, STATS = (
    (DOCS / f"reference/{page}.md").read_text()
    for page in ("server", "settings", "events", "stats")
)
ERRORS = (DOCS / "reference/errors.md").read_text()


def rows(page: str, columns: int) -> list[list[str]]:
    """The rows of the tables with so many columns."""
    found = [line[1:-1].split("|") for line in page.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in found if len(row) == columns]


def test_every_setting_has_its_default():
    told = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", SETTINGS, re.MULTILINE))
    settings = Settings(worker_num=1)
    for name in Settings.names():
        if name in {"worker_num", "message_queue_mode"}:
            continue  # the number of CPUs; written in octal
        value = getattr(settings, name)
        assert told[name] == repr(int(value) if name == "task_ipc_mode" else value), name
    assert int(told["message_queue_mode"], 0) == settings.message_queue_mode


@pytest.mark.parametrize(
    ("name", "span"),
    [
        (row[0].strip("`"), row[2])
        for row in rows(SETTINGS, 4)
        if re.fullmatch(r"(None, )?\d+(\.\.\S+| or more)", row[2])
    ],
)
def test_a_range_is_the_range(name, span):
    low, _, high = span.removeprefix("None, ").partition("..")
    least = int(low.split()[0], 0)
    assert name in Settings.names()
    Settings(**{name: least})
    with pytest.raises(ipckit.SettingsError):
        Settings(**{name: least - 1})
    if span.startswith("None"):
        Settings(**{name: None})
    if high:
        most = number(high)
        room = 1 if name in {"worker_num", "task_worker_num"} else 0  # for one of the other kind
        Settings(**{"worker_num": 1, name: most - room})
        with pytest.raises(ipckit.SettingsError):
            Settings(**{name: most + 1})


def number(text: str) -> int:
    """Return what "2047", "0o777", "10⁹" or "2³¹-1" says."""
    base, power, less = re.fullmatch(r"(\w+?)([⁰¹²³⁴-⁹]*)(-1)?", text).groups()
    digits = power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789"))
    return int(base, 0) ** int(digits or 1) - bool(less)


def test_every_event_is_told():
    told = {name: row[2] for row in rows(EVENTS, 5) for name in re.findall(r"`(\w+)`", row[0])}
    assert told.keys() == {*events.MANAGER_EVENTS, *events.WORKER_EVENTS}
    assert {name for name in told if told[name] == "manager"} == {*events.MANAGER_EVENTS}


def test_every_call_and_its_place_is_told():
    table = SERVER[SERVER.index("## Which call") : SERVER.index("## Calls")]
    told = {*re.findall(r"`(\w+)", " ".join(row[0] for row in rows(table, 5)))}
    there = {name for name, _ in inspect.getmembers(Server) if not name.startswith("_")}
    assert told == there | {"host", "port"}  # the two are attributes of the object


def test_every_number_of_stats_is_told():
    source = Path(ipckit.__file__).with_name("server") / "monitoring/stats.py"
    keys = re.findall(r'^        "(\w+)":', source.read_text(), re.MULTILINE)
    assert len(keys) > 25
    assert [key for key in keys if f"`{key}`" not in STATS] == []


def test_every_error_and_what_it_is_besides_is_told():
    told = {row[0].strip("`"): row[1].split(", ") for row in rows(ERRORS, 4) if row[0] != "class"}
    for name, others in told.items():
        cls = getattr(ipckit.errors, name)
        for other in filter(None, others):
            base = getattr(queue, other.removeprefix("queue."), None) or getattr(
                __import__("builtins"), other
            )
            assert issubclass(cls, base), (name, other)
        assert issubclass(cls, OSError) == ("OSError" in others), name
    listed = {*re.findall(r"autoexception:: (\w+)", ERRORS)}
    assert listed == {name for name in ipckit.errors.__all__ if name != "from_errno"}
    assert listed - told.keys() == {"IPCError"}


@pytest.mark.needs_php
def test_the_tutorials_php_posts_what_it_says(tmp_path):
    tutorial = (DOCS / "tutorial.md").read_text()
    (script,) = re.findall(r"```php\n(.*?)```", tutorial, re.DOTALL)
    with SysvQueue.create(ftok(tmp_path, "q")) as mine:
        try:
            subprocess.run(
                [shutil.which("php"), "-r", script.replace("/srv/app", str(tmp_path))],
                check=True,
                timeout=RUN,
            )
            got = [msg_receive(mine, 0, 8192, flags=1) for _ in range(len(mine))]
        finally:
            mine.remove()
    assert got == [(1, ["resize", "photo.jpg"]), (2**31 - 1, ["resize", "photo.jpg"])]


def test_every_setting_of_a_machine_has_its_default():
    told = dict(
        re.findall(
            r"^\| `(\w+)` \| `(.*?)` \|", (DOCS / "reference/testing.md").read_text(), re.MULTILINE
        )
    )
    settings = {
        name: repr(value)
        for name, value in vars(Machine).items()
        if name in Machine.__annotations__
    }
    assert told == settings


def test_every_name_of_the_harness_is_told():
    page = (DOCS / "reference/testing.md").read_text()
    for name in ipckit.testing.__all__:
        assert f"ipckit.testing.{name}" in page, name
    for name in ipckit.testing.models.__all__:
        assert name in page, name


def test_every_name_of_swoole_has_an_answer_and_what_is_kept_has_a_test():
    page = (DOCS / "reference/swoole.md").read_text()
    answers = [row for row in rows(page, 4) if row[0] != "Swoole"]
    assert len(answers) > 100
    tests = {
        f"{path.stem}::{name}"
        for path in (DOCS.parent / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    for what, answer, how, proofs in answers:
        assert how, what
        assert answer in {"kept", "renamed", "not needed"}, what
        named = re.findall(r"`(\w+::\w+)`", proofs)
        assert {*named} <= tests, (what, {*named} - tests)
        assert bool(named) == (answer != "not needed"), what
    told = {
        name for row in answers if row[1] == "kept" for name in re.findall(r"\w+", row[0] + row[2])
    }
    assert told >= {*events.MANAGER_EVENTS, *events.WORKER_EVENTS} - {
        "task_failed", "connection_taken",
    }  # fmt: skip


def test_every_command_and_option_is_told():
    page = (DOCS / "reference/cli.md").read_text()
    for name, command in _commands(ipckit.cli.parser()):
        assert f"`{name}" in page, name
        for option in (o for action in command._actions for o in action.option_strings):
            if option not in {"-h", "--help"} and name != "demo":
                assert option in page, (name, option)


def _commands(parser, *words):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, each in action.choices.items():
                if not any(isinstance(a, argparse._SubParsersAction) for a in each._actions):
                    yield " ".join((*words, name)), each
                yield from _commands(each, *words, name)

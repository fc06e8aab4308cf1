"""The file pipeline, on a real folder: killed in the middle, it goes on, and does nothing twice.

A file was not indexed again if its part has the same inode: each write of a part makes a new one.
"""

from __future__ import annotations

import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from example_programs import LOOK, program, run
from serving import kill_all

FILES = 300
BAD = "reports/7.txt"
WORDS = ["queue", "Table", "row", "lock", "传真", "naïve", "x1", "the", "and", "worker", "task"]
PROGRESS = r"(\d+) of (\d+) files, (\d+) failed, [\d.]+ a second, (?:\d+ s left|none yet)"


def counted(folder: Path) -> dict[str, dict[str, int]]:
    """The index, made in another way: all at once, by cutting at what is no word."""
    found: dict[str, dict[str, int]] = {}
    for path in sorted(folder.rglob("*.txt")):
        name = os.fsdecode(os.path.relpath(path, folder))
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue
        words = "".join(each if each.isalnum() or each == "_" else " " for each in text.lower())
        for word, count in Counter(words.split()).items():
            found.setdefault(word, {})[name] = count
    return found


def made(folder: Path, files: int) -> Path:
    """A folder of good files, one bad one, and one whose name is no text."""
    drawn = random.Random(7)
    for place in ("", "reports", "old/deep"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        for number in range(files // 3):
            text = "".join(
                drawn.choice(WORDS) + drawn.choice((" ", ", ", "\n", " - ", "_"))
                for _ in range(500)
            )
            (folder / place / f"{number}.txt").write_text(text)
    (folder / BAD).write_bytes(b"no text: \xff")
    with open(os.fsencode(folder) + b"/name\xff.txt", "w") as file:
        file.write("its name is no text")
    return folder


@pytest.fixture
def folder(tmp_path):
    return made(tmp_path / "in", FILES)


class Pipeline:
    """One start of it, in a process group of its own."""

    def __init__(self, folder: Path, out: Path) -> None:
        self.out = out
        with (out.parent / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, program("file_pipeline.py"), str(folder), str(out), "2"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "XDG_RUNTIME_DIR": str(out.parent)},
                start_new_session=True,
            )

    def parts(self) -> dict[str, int]:
        """Name and inode of each part."""
        try:
            return {entry.name: entry.inode() for entry in os.scandir(self.out / "parts")}
        except FileNotFoundError:
            return {}

    def wait_for_parts(self, count: int) -> None:
        end = time.monotonic() + LOOK
        while len(self.parts()) < count:
            assert self.process.poll() is None and time.monotonic() < end, self.log()
            select.select([], [], [], 0.002)

    def children(self) -> list[int]:
        """Its workers and task workers, in the order they were made."""
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill_all(self) -> None:
        kill_all(self.process)
        self.process.communicate(timeout=LOOK)

    def end(self) -> list[str]:
        """Wait until it is done; return what it printed."""
        try:
            printed, _ = self.process.communicate(timeout=LOOK)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise
        assert self.process.returncode == 0, self.log()
        return printed.splitlines()

    def log(self) -> str:
        return (self.out.parent / "log").read_text()


def dead(verb: str, out: Path, *more: str) -> str:
    return run(sys.executable, "-m", "ipckit", "dead", verb, str(out / "dead.sqlite"), *more)


def assert_whole(lines: list[str], out: Path, folder: Path, good: int, failed: int) -> None:
    expected = counted(folder)
    assert json.loads((out / "index.json").read_text()) == expected
    assert lines[-1] == f"done: {good} files, {len(expected)} words, {failed} failed"
    assert len(list((out / "parts").iterdir())) == good
    told = [re.fullmatch(PROGRESS, line) for line in lines[:-1]]
    assert told and all(told), lines
    overs = [int(match[1]) for match in told if match]
    assert overs == sorted(overs) and overs[-1] == good + failed
    assert {int(match[2]) for match in told if match} == {good + failed}


def test_killed_in_the_middle_it_goes_on_and_indexes_nothing_again(folder, tmp_path):
    out = tmp_path / "out"
    first = Pipeline(folder, out)
    first.wait_for_parts(FILES // 3)
    first.kill_all()
    before = first.parts()
    assert FILES // 3 <= len(before) < FILES
    assert not (out / "index.json").exists()
    second = Pipeline(folder, out)
    lines = second.end()
    assert_whole(lines, out, folder, FILES, 1)
    after = second.parts()
    assert {name: after[name] for name in before} == before, "a finished file was indexed again"
    taken_up = re.search(r"task ledger '\S+' is taken up: (\d+) tasks", second.log())
    assert taken_up and 1 <= int(taken_up[1]) <= 64, "what waited was in the ledger"
    assert list((out / "unfinished").iterdir()) == [], "what the kill cut off is gone"
    third = Pipeline(folder, out)
    assert_whole(third.end(), out, folder, FILES, 1)
    assert third.parts() == after, "nothing was left to do"


def test_a_file_that_cannot_be_read_is_a_dead_letter_until_it_is_retried(tmp_path):
    folder, out = made(tmp_path / "in", 30), tmp_path / "out"
    assert_whole(Pipeline(folder, out).end(), out, folder, 30, 1)
    (group,) = json.loads(dead("ls", out, "--json"))
    assert group["count"] == 1 and group["error"].startswith("UnicodeDecodeError")
    assert BAD in dead("show", out, str(group["ids"][0]))
    (folder / BAD).write_text("mended")
    Pipeline(folder, out).end()
    assert "mended" not in (out / "index.json").read_text(), "it is left alone"
    assert dead("retry", out, "--all") == "1 to be tried again\n"
    assert_whole(Pipeline(folder, out).end(), out, folder, 31, 0)
    assert "mended" in json.loads((out / "index.json").read_text())
    assert dead("ls", out) == "no dead letters\n"


def test_each_of_its_processes_may_be_killed_meanwhile(folder, tmp_path):
    """The worker that walks through the folder, then a task worker: their successors go on."""
    out = tmp_path / "out"
    pipeline = Pipeline(folder, out)
    for which, count in ((-1, FILES // 5), (0, FILES // 2)):  # the worker was made last
        pipeline.wait_for_parts(count)
        os.kill(pipeline.children()[which], signal.SIGKILL)
    lines = pipeline.end()
    died = re.findall(r"worker (\d) \(process \d+\) died: signal 9", pipeline.log())
    assert died == ["0", "1"]
    assert len(list((out / "unfinished").iterdir())) <= 1, "of the task worker that was killed"
    assert_whole(lines, out, folder, FILES, 1)


def test_a_folder_that_would_index_its_own_index_is_refused(folder):
    done = subprocess.run(
        [sys.executable, program("file_pipeline.py"), str(folder), str(folder / "out")],
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    assert done.returncode == 1 and "choose an OUT beside it" in done.stderr
    assert not (folder / "out").exists()

"""`ipckit demo`: 10,000 recipients, one mail each, whatever fails and whoever is killed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ipckit.cli.demo_mail import attempt_fails


def demo(out: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "ipckit", "demo", "--out", out, *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def digest(out: Path) -> tuple[int, str]:
    """Return how many files there are, and a hash over all names and contents."""
    found = hashlib.sha256()
    names = sorted(out.iterdir())
    for path in names:
        found.update(path.name.encode() + path.read_bytes())
    return len(names), found.hexdigest()


def failures(recipients: int) -> int:
    """How many attempts the demo fails on purpose."""
    total = 0
    for number in range(1, recipients + 1):
        attempt = 1
        while attempt_fails(number, attempt):
            attempt += 1
        total += attempt - 1
    return total


@pytest.fixture(scope="module")
def mode_1(tmp_path_factory) -> tuple[int, str]:
    out = tmp_path_factory.mktemp("mode1")
    done = demo(out, "--mode", "1")
    assert done.returncode == 0, done
    return digest(out)


def test_10000_mails_in_mode_1(mode_1):
    assert mode_1[0] == 10_000


@pytest.mark.parametrize("arguments", [(), ("--mode", "3", "--kill")], ids=["mode2", "mode3-kill"])
def test_every_mode_gives_the_same_files_and_the_table_is_true(tmp_path, mode_1, arguments):
    done = demo(tmp_path, *arguments)
    assert done.returncode == 0, done
    assert digest(tmp_path) == mode_1
    *table, last = done.stdout.splitlines()
    figures = json.loads(last)
    assert [line.split()[-1].replace(",", "") for line in table] == [
        str(value) for value in figures.values()
    ]
    on_purpose = failures(10_000)
    assert 1900 < on_purpose < 3000
    assert figures["recipients"] == figures["delivered"] == 10_000
    assert figures["given_up"] == 0
    killed = figures["retries"] - on_purpose
    assert killed in ((0, 1) if arguments else (0,))
    assert figures["attempts"] == 10_000 + figures["retries"]
    assert "10000/10000 mails" in done.stderr


def test_kill_in_mode_2(tmp_path):
    done = demo(tmp_path, "--recipients", "3000", "--kill", "--json")
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["delivered"] == 3000
    assert done.stderr.count("died: signal 9") <= 1
    assert len(list(tmp_path.iterdir())) == 3000


def test_an_earlier_run_is_replaced_and_strangers_are_kept(tmp_path):
    assert demo(tmp_path, "--recipients", "20").returncode == 0
    assert demo(tmp_path, "--recipients", "10").returncode == 0
    assert len(list(tmp_path.iterdir())) == 10
    (tmp_path / "mine.txt").write_text("keep me")
    done = demo(tmp_path, "--recipients", "10")
    assert done.returncode == 1 and "mine.txt" in done.stderr
    assert len(list(tmp_path.iterdir())) == 11


@pytest.mark.parametrize(
    "arguments", [("--mode", "4"), ("--recipients", "0"), ("--recipients", "many"), ("--nonsense",)]
)
def test_wrong_use_exits_2(tmp_path, arguments):
    done = demo(tmp_path, *arguments)
    assert done.returncode == 2 and "usage:" in done.stderr

"""The programs under examples/, started and ended as a user would.

`run` for those that end by themselves, `Example` for servers, `serve` (a fixture) for servers that
the test ends, `gunicorn` for applications; LOOK bounds every wait.
"""

from __future__ import annotations

import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipckit import Client

EXAMPLES = Path(__file__).parents[1] / "examples"
LOOK = 30.0


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LOOK, check=False)
    assert done.returncode == 0, done
    return done.stdout


def program(name: str) -> str:
    return str(EXAMPLES / name)


class Example:
    """A server example on a port that the kernel chooses, told in its first line."""

    def __init__(self, name: str, log: Path, *arguments: str) -> None:
        self.log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, program(name), "0", *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], LOOK)[0]:
            self.process.kill()
        self.port = self.process.stdout.readline().removeprefix("listening on ").strip()

    def client(self) -> Client:
        client = Client(open_eof_split=True, package_eof=b"\n")
        client.connect("127.0.0.1", int(self.port), timeout=LOOK)
        return client

    def end(self) -> str:
        """SIGTERM; it must end with 0. Return what it printed after its first line."""
        self.process.send_signal(signal.SIGTERM)
        try:
            printed, _ = self.process.communicate(timeout=LOOK)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert self.process.returncode == 0, self.log.read_text()
        assert "Traceback" not in self.log.read_text()
        return printed


@pytest.fixture
def serve(tmp_path):
    running: list[Example] = []

    def start(name: str, *arguments: str) -> Example:
        running.append(Example(name, tmp_path / f"{name}.log", *arguments))
        return running[-1]

    yield start
    for example in running:
        if example.process.poll() is None:
            example.end()


def wait_for_line(log: Path, pattern: str, seconds: float = LOOK) -> re.Match[str]:
    """Poll until there is such a line in the log; a pause of 5 ms each, by select."""
    end = time.monotonic() + seconds
    while not (found := re.search(pattern, log.read_text())):
        assert time.monotonic() < end, log.read_text()
        select.select([], [], [], 0.005)
    return found


@contextmanager
def gunicorn(tmp_path: Path, *arguments: str) -> Iterator[int]:
    """Two workers of a real gunicorn, on a port that the kernel chooses; gunicorn.log is theirs."""
    command = [
        *(sys.executable, "-m", "gunicorn", "--workers", "2", "--bind", "127.0.0.1:0"),
        *("--no-control-socket", "--worker-tmp-dir", str(tmp_path)),
        *("--chdir", str(EXAMPLES), *arguments),
    ]
    log = tmp_path / "gunicorn.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr)
    try:
        yield int(wait_for_line(log, r"Listening at: http://127.0.0.1:(\d+)")[1])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(LOOK)
        except subprocess.TimeoutExpired:
            process.kill()
            raise

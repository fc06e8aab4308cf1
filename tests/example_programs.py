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
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deadlines import LOOK, RUN
from serving import kill_all

from ipckit import Client

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN, check=False)
    assert done.returncode == 0, done
    return done.stdout


def program(name: str) -> str:
    return str(EXAMPLES / name)


class Example:
    """A server example on a port that the kernel chooses, told in a line that it prints."""

    def __init__(self, name: str, log: Path, *arguments: str) -> None:
        self.log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, program(name), "0", *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.port = ""
        self.before = ""  # printed before the port: tasks that waited for this server
        for line in self._lines():
            before, told, port = line.partition("listening on ")
            self.before += before
            if told:
                self.port = port.strip()
                break

    def client(self) -> Client:
        client = Client(open_eof_split=True, package_eof=b"\n")
        client.connect("127.0.0.1", int(self.port), timeout=LOOK)
        return client

    def end(self, *, tracebacks: bool = False) -> str:
        """SIGTERM; it must end with 0, and have logged no traceback if none is awaited.

        Return what it printed, without the line with its port.
        """
        self.process.send_signal(signal.SIGTERM)
        printed = self._rest()
        assert self.process.returncode == 0, self.log.read_text()
        assert tracebacks or "Traceback" not in self.log.read_text()
        return printed

    def kill(self) -> str:
        """kill -9 of all its processes. Return what they printed, without the port."""
        kill_all(self.process)
        return self._rest()

    def _lines(self) -> Iterator[str]:
        """Give its lines until the end; it is killed when they are late."""
        assert self.process.stdout is not None
        late = threading.Timer(LOOK, self.process.kill)
        late.start()
        try:
            yield from iter(self.process.stdout.readline, "")
        finally:
            late.cancel()
            late.join()

    def _rest(self) -> str:
        # not by communicate(), which does not know what the lines before were read together with
        printed = self.before + "".join(self._lines())
        self.process.wait(LOOK)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return printed


def wait_for_tasks(server: Example, count: int) -> None:
    end = time.monotonic() + LOOK
    answer = b""
    with server.client() as client:
        while answer != b"%d tasks are done\n" % count:
            assert time.monotonic() < end, answer
            client.send(b"?\n")
            answer = client.recv()


@pytest.fixture
def serve(tmp_path):
    running: list[Example] = []

    def start(name: str, *arguments: str) -> Example:
        running.append(Example(name, tmp_path / f"{Path(name).name}.log", *arguments))
        return running[-1]

    yield start
    for example in running:
        if example.process.poll() is None:
            example.end()


def wait_for_line(log: Path, pattern: str) -> re.Match[str]:
    """Poll until there is such a line in the log; a pause of 5 ms each, by select."""
    end = time.monotonic() + LOOK
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

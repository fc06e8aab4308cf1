"""The programs under examples/ do what they say, as a user would run them."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ipckit import Client

EXAMPLES = Path(__file__).parents[2] / "examples"
LOOK = 30.0


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout


@pytest.fixture
def serve():
    """Start a server example on a port the kernel chooses; return the port. It must end with 0."""
    running: list[subprocess.Popen] = []

    def start(name: str) -> str:
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / name, "0"], stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], LOOK)[0]
        return process.stdout.readline().removeprefix("listening on ").strip()

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LOOK)
        assert process.returncode == 0


def test_first_server_and_client(serve):
    port = serve("first_server.py")
    assert run("first_client.py", port).splitlines() == [
        "task 1 was posted",
        "task 1 is done: HELLO, TASK WORKER",
    ]
    assert run("first_client.py", port, "again").splitlines()[1] == "task 2 is done: AGAIN"


def test_second_server(serve):
    client = Client(open_eof_split=True, package_eof=b"\n")
    client.connect("127.0.0.1", int(serve("second_server.py")), timeout=5)
    client.send(b"go\n")
    # 20 items fail once; two of the others fail three times, and are given up.
    assert client.recv() == b"98 delivered, 2 given up, 26 failures\n"
    client.close()


def test_parent_and_child():
    lines = run("parent_child_queue.py").splitlines()
    assert lines[:5] == [f"child got 'message {number}'" for number in range(5)]
    assert lines[5] == "child ended with 0, 0 messages are left"

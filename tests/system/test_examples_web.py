"""The examples for web frameworks, each under its real server."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_programs import EXAMPLES, LOOK, program, run, serve, wait_for_tasks  # noqa: F401 (a fixture)


@contextlib.contextmanager
def gunicorn(tmp_path: Path, *arguments: str) -> Iterator[int]:
    """Two workers of a real gunicorn, on a port that the kernel chooses."""
    command = [
        *(sys.executable, "-m", "gunicorn", "--workers", "2", "--bind", "127.0.0.1:0"),
        *("--no-control-socket", "--worker-tmp-dir", str(tmp_path)),
        *("--chdir", str(EXAMPLES), *arguments),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, bufsize=1)
    assert process.stderr is not None
    try:
        found = None
        while found is None:
            line = process.stderr.readline()
            assert line, "gunicorn ended"
            found = re.search(r"Listening at: http://127.0.0.1:(\d+)", line)
        yield int(found[1])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=LOOK)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.fixture
def flask_port(tmp_path):
    with gunicorn(tmp_path, "flask_app:app") as port:
        yield port


def ask_web(port: int, path: str, *data: object) -> tuple[int, dict]:
    """GET, or with data POST it as JSON; return the status and the JSON of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LOOK)
    try:
        method, body = ("POST", json.dumps(data[0])) if data else ("GET", None)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_tasks_from_flask(serve, flask_port):
    status, answer = ask_web(flask_port, "/tasks", {"resize": "too early"})
    assert status == 503 and "is queue_server.py running?" in answer["error"]
    server = serve("queue_server.py")
    for number in range(20):
        data = {"resize": "传真.png", "number": number}
        assert ask_web(flask_port, "/tasks", data) == (202, {"posted": True})
    status, answer = ask_web(flask_port, "/tasks", "x" * 1_000_000)
    assert status == 413 and "1000" in answer["error"], answer
    wait_for_tasks(server, 20)
    printed = server.end()
    for number in range(20):
        assert printed.count(f"got {{'resize': '传真.png', 'number': {number}}}") == 1


def ask_cache(port: int, number: int) -> tuple[str, str, int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LOOK)
    try:
        connection.request("GET", f"/square?{number}")
        kind, value, pid = connection.getresponse().read().decode().split()
        return kind, value, int(pid)
    finally:
        connection.close()


def test_workers_of_gunicorn_share_a_cache_and_one_is_killed(tmp_path):
    with gunicorn(tmp_path, "--preload", "gunicorn_cache:app") as port:
        first = [ask_cache(port, number) for number in range(50)]
        assert [(kind, value) for kind, value, _ in first] == [
            ("miss", str(number**2)) for number in range(50)
        ]
        os.kill(first[0][2], signal.SIGKILL)
        end = time.monotonic() + LOOK
        pids = set()
        while len(pids - {first[0][2]}) < 2:  # the other one, and the successor
            assert time.monotonic() < end
            try:
                kind, value, pid = ask_cache(port, 7)
            except (ConnectionError, http.client.HTTPException):
                continue  # the killed one had taken this connection
            assert (kind, value) == ("hit", "49")
            pids.add(pid)

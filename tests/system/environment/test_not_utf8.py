"""A name that is no UTF-8, in every text of a server that is written down: nothing ends for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from deadlines import LOOK
from serving import Small

from ipckit.server.tasks.dead_letters import DeadLetter, DeadLetters
from ipckit.server.tasks.retry_policy import Failure

NAME = os.fsdecode(b"caf\xe9.txt")

TASK = """
NAME = os.fsdecode(b"caf\\xe9.txt")
def task(server, task_id, source, data):
    raise ValueError("cannot read " + NAME)
def failed(server, task_id, failure):
    os.write(1, ascii(failure).encode() + b"\\n")
async def receive(server, fd, reactor, data):
    if data == b"go":
        try:
            await server.task_async("work")
        except ipckit.TaskFailed as why:
            data = ascii(str(why)).encode()
    elif data == b"post":
        server.task("work")
    server.send(fd, data)
server.on("task", task); server.on("receive", receive); server.on("task_failed", failed)
"""


@pytest.fixture
def small():
    made = []

    def start(*args, **kwargs):
        made.append(Small(*args, **kwargs))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.end()
        each.process.stdout.close()
        each.process.stderr.close()


@pytest.mark.parametrize("ledger", ["", "task_ledger='not-utf8', "])
def test_a_task_whose_error_has_such_a_name_becomes_a_dead_letter(small, tmp_path, ledger):
    """F1, D11, D14: the letter is written, `task_failed` fires, the server goes on."""
    path = str(tmp_path / "letters")
    settings = (
        f"{ledger}task_worker_num=1, task_max_attempts=2, task_retry_delays=(0,), "
        f"dead_letter_path={path!r}, runtime_dir={str(tmp_path / 'run')!r}"
    )
    server = small(TASK, settings)
    with server.connect() as client:
        client.sendall(b"go")
        assert rb"cannot read caf\udce9.txt" in client.recv(999).replace(b"\\\\", b"\\")
        client.sendall(b"post")
        assert client.recv(99) == b"post"
        server.wait_for(lambda: len(DeadLetters(path)) == 2)
        client.sendall(b"hello")
        assert client.recv(99) == b"hello"
    first, _ = DeadLetters(path)
    assert first.error == f"ValueError: cannot read {NAME}" and len(first.attempts) == 2
    assert NAME in first.attempts[0].traceback
    log = server.end()
    assert "UnicodeEncodeError" not in log and "Logging error" not in log
    assert "udce9" in log


def test_a_letter_with_such_an_error_can_be_read(tmp_path):
    """F1: by `ipckit dead`, on a terminal that takes UTF-8 alone, and as JSON."""
    letters = DeadLetters(str(tmp_path / "letters"))
    failure = Failure(f"ValueError: {NAME}", f"Traceback: {NAME}", None, 1.0)
    letters.add(DeadLetter(0, 1, 0, -1, "php", b"i:5;", (failure,), 1.0, 2.0))
    for words in (("ls", letters.path), ("show", letters.path, "1")):
        for more in ((), ("--json",)):
            done = subprocess.run(
                [sys.executable, "-m", "ipckit", "dead", *words, *more],
                check=False,
                capture_output=True,
                timeout=LOOK,
                env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
            )
            assert done.returncode == 0, done.stderr
            assert b"caf\\udce9" in done.stdout
            if more:
                assert NAME in json.dumps(json.loads(done.stdout), ensure_ascii=False)


def test_why_worker_start_failed_is_told(tmp_path):
    """F1: BootFailed has the traceback, and start() says which name it was."""
    code = f"""
import os, sys, ipckit
server = ipckit.Server("127.0.0.1", 0, worker_num=1, runtime_dir={str(tmp_path)!r})
def begin(server, worker):
    raise ValueError("cannot read " + os.fsdecode(b"caf\\xe9.txt"))
server.on("worker_start", begin)
server.on("receive", print)
try:
    server.start()
except ipckit.BootFailed as why:
    print(ascii(why.remote_traceback))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, timeout=LOOK
    )
    assert b"ValueError: cannot read caf" in done.stdout, done.stderr
    assert b"UnicodeEncodeError" not in done.stderr


def test_a_log_file_has_the_line(small, tmp_path):
    """F1: no line is lost for its text."""
    path = tmp_path / "log"
    server = small(
        """
        def receive(server, fd, reactor, data):
            raise ValueError("cannot read " + os.fsdecode(b"caf\\xe9.txt"))
        server.on("receive", receive)
        """,
        f"log_file={str(path)!r}",
    )
    with server.connect() as client:
        client.sendall(b"go")
        server.wait_for(lambda: path.exists() and b"cannot read" in path.read_bytes())
    assert rb"cannot read caf\udce9.txt" in path.read_bytes()
    assert "Logging error" not in server.end()


def test_paths_that_are_no_utf_8_work(small, tmp_path):
    """F1: the socket, the log, the pid file, the control socket, and what looks at them."""
    where = os.path.join(os.fsencode(tmp_path), b"d\xe9")
    os.mkdir(where)
    path = os.fsdecode(where)
    settings = ", ".join(
        f"{name}={os.path.join(path, name)!r}"
        for name in ("log_file", "pid_file", "runtime_dir", "control_path", "dead_letter_path")
    )
    code = f"""
import os, ipckit
server = ipckit.Server({os.path.join(path, "s")!r}, 0, sock_type=ipckit.SockType.UNIX_STREAM,
    worker_num=1, task_worker_num=1, {settings})
server.on("start", lambda server: os.write(1, b"up\\n"))
server.on("receive", lambda *a: None); server.on("task", lambda *a: None)
server.start()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code.encode("ascii", "backslashreplace").decode()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as server:
        assert server.stdout.readline() == b"up\n", server.stderr.read()
        try:
            for command in (("status",), ("top", "--once"), ("connections",)):
                done = subprocess.run(
                    [sys.executable, "-m", "ipckit", *command, os.path.join(path, "control_path")],
                    check=False,
                    capture_output=True,
                    timeout=LOOK,
                    env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
                )
                assert done.returncode == 0, done.stderr
        finally:
            server.terminate()
            _, err = server.communicate(timeout=LOOK)
    assert server.returncode == 0 and b"Unicode" not in err
    assert not os.path.exists(os.path.join(where, b"s"))

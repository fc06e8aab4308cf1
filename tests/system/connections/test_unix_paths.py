"""Unix sockets and control sockets of several servers: at one path, in one directory, in namespaces.

Two servers that are each PID 1, and a look from a child pid namespace, are made by unshare(1).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest
from command import ipckit
from serving import LOOK, wait_for

ECHO = """
import os, sys, ipckit
server = ipckit.Server({host!r}, 0, sock_type=ipckit.SockType.UNIX_STREAM, worker_num=1, runtime_dir={directory!r}, {more})
if {wait}:
    os.write(1, b"bound\\n")
    sys.stdin.read(1)
server.on("start", lambda server: os.write(1, b"up\\n"))
server.on("receive", lambda server, fd, reactor, data: server.send(fd, {name!r}))
server.start()
"""


@pytest.fixture
def serve(tmp_path):
    made = []

    def start(name, host, *words, wait=False, more=""):
        code = ECHO.format(
            host=host, directory=str(tmp_path / "run"), name=name, wait=wait, more=more
        )
        process = subprocess.Popen(
            [*words, sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        made.append(process)
        expected = b"bound\n" if wait else b"up\n"
        assert process.stdout.readline() == expected
        return process

    yield start
    for process in made:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=LOOK)


def end(process):
    process.terminate()
    process.communicate(timeout=LOOK)
    assert process.returncode == 0


def answer(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(LOOK)
        client.connect(path)
        client.sendall(b"?")
        return client.recv(99)


def test_the_end_of_an_old_server_leaves_the_socket_of_the_new_one(serve, tmp_path):
    """F23: the name was removed and given again while the old one served, and its control socket's
    too.
    """
    path, control = str(tmp_path / "socket"), str(tmp_path / "control")
    old = serve(b"old", path, more=f"control_path={control!r}")
    os.unlink(path)
    os.unlink(control)
    new = serve(b"new", path, more=f"control_path={control!r}")
    end(old)
    assert answer(path) == b"new"
    assert json.loads(ipckit("status", "--json", control))["pid"] == new.pid
    end(new)
    assert not os.path.exists(path) and not os.path.exists(control)


def test_a_server_that_has_not_started_keeps_its_path(serve, tmp_path):
    """F23: another one is refused, and the first one starts."""
    path = str(tmp_path / "socket")
    first = serve(b"first", path, wait=True)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import ipckit; ipckit.Server({path!r}, 0, sock_type=ipckit.SockType.UNIX_STREAM)",
        ],
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    assert "AlreadyExists" in done.stderr
    first.stdin.write(b"!")
    first.stdin.flush()
    assert first.stdout.readline() == b"up\n"
    assert answer(path) == b"first"


def unshared(*flags):
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare(1)")
    words = ("unshare", *flags)
    done = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no namespaces here: {done.stderr.strip()}")
    return words


@pytest.mark.needs_root
def test_two_servers_that_are_each_pid_1_share_a_runtime_directory(serve, tmp_path):
    """F47: both have a control socket; the end of one leaves what is the other's."""
    words = unshared("--pid", "--fork", "--mount-proc", "--kill-child=TERM")
    pid = str(tmp_path / "pid")
    serve(b"one", str(tmp_path / "one"), *words, more=f"pid_file={pid!r}")
    two = serve(b"two", str(tmp_path / "two"), *words, more=f"pid_file={pid!r}")
    run = str(tmp_path / "run")
    sockets = sorted(each for each in os.listdir(run) if each.startswith("control-"))
    assert len(sockets) == 2 and sockets[1] == "control-1.sock"
    pids = {
        json.loads(ipckit("status", "--json", os.path.join(run, each)))["pid"] for each in sockets
    }
    assert pids == {1}
    ipckit("stop", os.path.join(run, "control-1.sock"))
    wait_for(lambda: not os.path.exists(os.path.join(run, "control-1.sock")))
    assert os.path.exists(pid), "the newer server's"
    assert answer(str(tmp_path / "two")) == b"two"
    ipckit("stop", os.path.join(run, sockets[0]))
    two.communicate(timeout=LOOK)
    assert not os.path.exists(pid)
    assert not [each for each in os.listdir(run) if each.endswith((".sock", ".jsonl"))]


@pytest.mark.needs_root
def test_a_look_from_a_child_pid_namespace_says_why_it_cannot(serve, tmp_path):
    """F47: the manager has no pid there; what asks it works."""
    serve(b"server", str(tmp_path / "socket"))
    (name,) = (each for each in os.listdir(tmp_path / "run") if each.endswith(".sock"))
    control = str(tmp_path / "run" / name)
    words = unshared("--pid", "--fork", "--mount-proc")
    for command, code in ((("top", "--once"), 1), (("status",), 0)):
        done = subprocess.run(
            [*words, sys.executable, "-m", "ipckit", *command, control],
            capture_output=True,
            text=True,
            timeout=LOOK,
            check=False,
        )
        assert done.returncode == code, done
        if code:
            assert "another pid namespace" in done.stderr and "Errno 22" not in done.stderr

"""The control socket, the pid file, and the commands that ask a running server."""

from __future__ import annotations

import json
import os
import socket
import stat

import pytest
from command import ipckit
from serving import LOOK

from ipckit.server.monitoring.control_socket import MAX_REQUEST, answer_line

ECHO = 'server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control"


def test_the_commands(small, path, tmp_path):
    server = small(ECHO, f"control_path={str(path)!r}, pid_file={str(tmp_path / 'pid')!r}")
    pid = server.process.pid
    assert (tmp_path / "pid").read_text() == f"{pid}\n"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with server.connect() as client:
        client.sendall(b"x")
        client.recv(1)
        text = ipckit("status", path)
        assert text.startswith(f"server {pid} on 127.0.0.1:{server.address[1]}, up ")
        form = json.loads(ipckit("status", path, "--json"))
        assert form["stats"]["request_count"] == form["stats"]["connection_num"] == 1
        (one,) = json.loads(ipckit("connections", path, "--json"))["connections"]
        assert one["remote_port"] == client.getsockname()[1]
        assert f"127.0.0.1:{one['remote_port']}" in ipckit("connections", path)
        above = ipckit("connections", path, "--json", "--start", one["fd"])
        assert json.loads(above) == {"connections": []}
    form = json.loads(ipckit("reload", path, "--json"))
    assert (form["started"], form["reload"], form["done"]) == (True, 1, False)
    assert ipckit("stop", path) == f"server {pid} ends\n"
    assert server.process.wait(LOOK) == 0
    assert os.listdir(tmp_path) == []
    assert "no server answers there" in ipckit("status", path, code=1)


def test_the_only_server_is_found(small, tmp_path):
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    where = f"runtime_dir={str(run / 'ipckit')!r}"
    assert "no server runs" in ipckit("status", code=1, runtime=run)
    first = small(ECHO, where)
    assert f"server {first.process.pid} on" in ipckit("status", runtime=run)
    second = small(ECHO, where)
    both = ipckit("status", code=1, runtime=run)
    assert f"control-{first.process.pid}.sock" in both
    assert f"control-{second.process.pid}.sock" in both
    first.process.kill()
    first.process.wait(LOOK)
    assert f"server {second.process.pid} on" in ipckit("status", runtime=run)
    assert os.listdir(run / "ipckit") == [f"control-{second.process.pid}.sock"], "no dead ones"


def test_what_changes_a_server_wants_it_to_be_of_this_directory(small, tmp_path, monkeypatch):
    """F31: ours does not run, and another project's does: it is named, and nothing is done."""
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    other = tmp_path / "other project"
    other.mkdir()
    before = os.getcwd()
    monkeypatch.chdir(other)
    server = small(ECHO, f"runtime_dir={str(run / 'ipckit')!r}")
    control = str(run / "ipckit" / f"control-{server.process.pid}.sock")
    monkeypatch.chdir(before)
    for command in ("stop", "reload"):
        told = ipckit(command, code=1, runtime=run)
        assert "is not of this directory" in told and f"{control} (of {other})" in told
    assert f"server {server.process.pid} on" in ipckit("status", runtime=run)
    ipckit("reload", control, runtime=run)
    monkeypatch.chdir(other)
    second = small(ECHO, f"runtime_dir={str(run / 'ipckit')!r}")
    for command in ("stop", "reload", "status"):
        told = ipckit(command, code=1, runtime=run)
        assert "2 servers run, say which" in told and control in told
    second.end()
    assert ipckit("stop", runtime=run) == f"server {server.process.pid} ends\n"
    assert server.process.wait(LOOK) == 0


def test_requests_in_one_write_are_all_answered(small, path):
    """F28: in order, also behind an answer that takes more than one write to the socket."""
    small(ECHO, f"control_path={str(path)!r}")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(LOOK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sock.connect(str(path))
        asked = [{"command": "status"}, {"command": f"no {1}"}, {"command": "connections"}] * 60
        lines = b"".join(json.dumps(each).encode() + b"\n" for each in asked)
        assert len(lines) < MAX_REQUEST
        sock.sendall(lines[:-3])
        sock.sendall(lines[-3:])
        with sock.makefile("rb") as answers:
            for each in asked:
                answer = json.loads(answers.readline())
                expected = {"status": "stats", "connections": "connections"}
                assert expected.get(each["command"], "error") in answer


def test_paths_that_cannot_be_had(small, path, tmp_path):
    small(ECHO, f"control_path={str(path)!r}")
    with pytest.raises(AssertionError, match=r"AlreadyExists.*control_path.*a live server"):
        small(ECHO, f"control_path={str(path)!r}")
    with pytest.raises(AssertionError, match=r"SystemCallError.*at most 107 bytes"):
        small(ECHO, f"control_path={'/tmp/' + 'x' * 103!r}")
    with pytest.raises(AssertionError, match=r"NotFound.*pid_file"):
        small(ECHO, f"pid_file={str(tmp_path / 'no' / 'pid')!r}")
    wide = tmp_path / "wide"
    wide.mkdir(mode=0o755)
    server = small(ECHO, f"runtime_dir={str(wide)!r}")
    assert "there is no control socket" in server.end()
    assert "control socket" not in small(ECHO, "control_path=False").end()


def test_a_client_that_misbehaves_harms_nobody(small, path):
    small(ECHO, f"control_path={str(path)!r}")
    bad = []
    for text in [b"x" * (MAX_REQUEST + 1), b'{"command": "sta'] + [b""] * 20:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        sock.sendall(text)
        bad.append(sock)
    assert ipckit("status", path).startswith("server ")
    for sock in bad:
        sock.close()


def test_what_is_no_request_is_told():
    commands = {"add": lambda request: {"sum": request["a"] + request["b"]}}
    assert json.loads(answer_line(b'{"command": "add", "a": 1, "b": 2}', commands)) == {"sum": 3}
    for line, why in (
        (b"\xff", "not a line of JSON"),
        (b"[1]", "no command None; there are add"),
        (b'{"command": "sub"}', "no command 'sub'"),
        (b'{"command": ["add"]}', "no command ['add']"),
        (b'{"command": "add", "a": 1, "b": "x"}', "TypeError"),
    ):
        assert why in json.loads(answer_line(line, commands))["error"]

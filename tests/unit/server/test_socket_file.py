"""Addresses as the listener takes them: no file of another socket is removed."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import LOOK

from ipckit import AlreadyExists, Server, SockType
from ipckit.server.config.settings import Settings
from ipckit.server.monitoring.control_socket import control_sockets, live_sockets, open_control
from ipckit.server.ports import bind
from ipckit.server.rundir.pid_file import PidFile
from ipckit.server.system import socket_file
from ipckit.server.system.socket_file import (
    SocketFile,
    directory_lock,
    is_abandoned,
    remove_abandoned,
)
from ipckit.server.tasks.spill import SpillDirectory

KINDS = [SockType.UNIX_STREAM, SockType.UNIX_DGRAM]


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "socket")


@pytest.fixture(params=["sock_diag", "proc"])
def kernel(request, monkeypatch):
    """A kernel with sock_diag for unix sockets, and one that is without it."""
    if request.param == "proc":
        monkeypatch.setattr(socket_file, "_NETLINK_SOCK_DIAG", 99)


def abandoned(path, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", KINDS)
def test_the_place_of_a_dead_server_is_taken(path, kind, before):
    abandoned(path, socket.SOCK_DGRAM if before == SockType.UNIX_DGRAM else socket.SOCK_STREAM)
    bound = bind.bind(path, 0, kind)
    bind.forget(bound)
    assert not os.path.exists(path)


@pytest.mark.usefixtures("kernel")
def test_a_server_that_does_not_listen_yet_keeps_its_path(path):
    """F23: it is bound, so it lives; connect(2) is refused as for a dead one."""
    first = bind.bind(path, 0, SockType.UNIX_STREAM)
    try:
        assert not is_abandoned(path) and remove_abandoned(path) is False
        for kind in KINDS:
            with pytest.raises(AlreadyExists, match="a live server"):
                bind.bind(path, 0, kind)
        assert os.lstat(path).st_ino == first.file.inode
    finally:
        bind.forget(first)
    assert not os.path.exists(path)


def test_a_relative_path_is_ours_after_chdir(tmp_path, monkeypatch):
    """F27: the file goes although the working directory is another one."""
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    bound = bind.bind("socket", 0, SockType.UNIX_STREAM)
    monkeypatch.chdir(tmp_path / "other")
    abandoned("socket")
    bind.forget(bound)
    assert not (tmp_path / "socket").exists() and (tmp_path / "other" / "socket").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_socket_file_that_is_anothers_by_now_stays(path, kind):
    """F23: the name was given again; the inode shows that the file is not ours."""
    old = bind.bind(path, 0, kind)
    os.unlink(path)
    new = bind.bind(path, 0, kind)
    bind.forget(old)
    assert os.lstat(path).st_ino == new.file.inode
    os.unlink(path)
    bind.forget(new)  # it is gone: nothing to do


@pytest.mark.usefixtures("kernel")
def test_no_other_file_is_removed(path):
    with pytest.raises(FileNotFoundError):
        remove_abandoned(path)
    Path(path).touch()
    assert not is_abandoned(path) and remove_abandoned(path) is False
    with pytest.raises(AlreadyExists, match="is no socket"):
        bind.bind(path, 0, SockType.UNIX_STREAM)
    os.unlink(path)
    abandoned(path)
    assert is_abandoned(path) and remove_abandoned(path) is True
    assert not os.path.exists(path)


def test_two_that_start_at_once_do_not_take_the_path_from_each_other(path):
    """F23: look and removal are one step; exactly one of many has the path each time."""
    code = """
import sys
from ipckit import AlreadyExists, SockType
from ipckit.server.ports import bind
for line in sys.stdin:
    try:
        bound = bind.bind(line.strip(), 0, SockType.UNIX_STREAM)
        print(bound.file.inode, flush=True)
    except AlreadyExists:
        print(0, flush=True)
"""
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        for number in range(50):
            place = f"{path}-{number}"
            abandoned(place)
            for rival in rivals:
                rival.stdin.write(place + "\n")
                rival.stdin.flush()
            inodes = [int(rival.stdout.readline()) for rival in rivals]
            assert sorted(inodes)[:2] == [0, 0] and max(inodes) == os.lstat(place).st_ino
    finally:
        for rival in rivals:
            rival.communicate(timeout=LOOK)


def test_a_lock_that_somebody_keeps_costs_a_moment(path, monkeypatch):
    """U1 of ipckit/server/system/socket_file.py: it is given up after LOCK_SECONDS."""
    monkeypatch.setattr(socket_file, "LOCK_SECONDS", 0.05)
    with directory_lock(path):
        bind.forget(bind.bind(path, 0, SockType.UNIX_STREAM))


def test_the_longest_path(tmp_path):
    path = f"{tmp_path}/"
    path += "x" * (107 - len(path))
    bind.forget(bind.bind(path, 0, SockType.UNIX_STREAM))


def test_a_control_socket_that_is_anothers_by_now_stays(tmp_path):
    """F23: an old server's end leaves the new server's."""
    settings = Settings(control_path=str(tmp_path / "control"))
    old = open_control(settings)
    os.unlink(old.file.path)
    new = open_control(settings)
    bind.forget(old)
    assert os.lstat(new.file.path).st_ino == new.file.inode
    bind.forget(new)


@pytest.mark.usefixtures("kernel")
def test_a_control_socket_that_does_not_listen_yet_stays(tmp_path):
    """F23: whoever looks for live servers removes what is abandoned, and no more."""
    starting, dead = str(tmp_path / "control-1.sock"), str(tmp_path / "control-2.sock")
    abandoned(dead)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(starting)
        assert live_sockets(str(tmp_path)) == []
        assert control_sockets(str(tmp_path)) == [starting]
        sock.listen(1)
        assert live_sockets(str(tmp_path)) == [starting]


def test_two_servers_of_one_pid_share_a_runtime_directory(tmp_path):
    """F47: as in two containers, where each is PID 1."""
    settings = Settings(runtime_dir=str(tmp_path))
    tmp_path.chmod(0o700)
    first, second = open_control(settings), open_control(settings)
    try:
        assert first.file.path == str(tmp_path / f"control-{os.getpid()}.sock")
        assert second.file.path.startswith(str(tmp_path / f"control-{os.getpid()}-"))
        assert live_sockets(str(tmp_path)) == sorted([first.file.path, second.file.path])
    finally:
        bind.forget(first)
        assert live_sockets(str(tmp_path)) == [second.file.path]
        bind.forget(second)


def test_a_pid_file_that_another_server_with_our_pid_wrote_stays(tmp_path):
    """F23: in containers each server's pid may be 1; a symbolic link is not followed."""
    path = str(tmp_path / "pid")
    old, new = PidFile(path), PidFile(path)
    old.remove()
    assert int(Path(path).read_text()) == os.getpid()
    new.remove()
    assert os.listdir(tmp_path) == []
    new.remove()


def test_a_directory_of_spill_files_that_was_made_again_stays(tmp_path):
    """F23: the files that are ours went by our descriptor, the directory goes by its inode."""
    tmp_path.chmod(0o700)
    spill = SpillDirectory(str(tmp_path), "ledger-x")
    os.rename(spill.path, tmp_path / "moved")
    os.mkdir(spill.path)
    spill.destroy()
    assert os.path.isdir(spill.path)


def test_of_says_which_file_it_is(path):
    abandoned(path)
    file = SocketFile.of(path)
    assert file.remove() is True and file.remove() is False


REFUSED = """
import os, sys, ipckit
server = ipckit.Server({path!r}, sock_type=ipckit.SockType.UNIX_STREAM, task_worker_num=1)
server.on("receive", lambda *_: None)
if os.fork() == 0:
    sys.exit()  # a child of the program's own
os.wait()
assert os.path.exists({path!r})
try:
    server.start()
except ipckit.SettingsError:
    sys.exit({how})
"""


@pytest.mark.parametrize("how", ["0", "1"])
def test_a_program_whose_start_is_refused_leaves_no_file(path, how):
    code = REFUSED.format(path=path, how=how)
    done = subprocess.run([sys.executable, "-c", code], timeout=LOOK, check=False)
    assert done.returncode == int(how)
    assert not os.path.exists(path)


def test_a_server_that_is_dropped_leaves_no_file(path):
    server = Server(path, sock_type=SockType.UNIX_STREAM)
    assert os.path.exists(path)
    del server
    gc.collect()
    assert not os.path.exists(path)

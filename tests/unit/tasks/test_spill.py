"""Spill files: bodies that come back whole, and nothing that another put there."""

from __future__ import annotations

import errno
import os

import pytest
from descriptors import no_descriptors

from ipckit import AccessDenied, ProtocolError, SystemCallError
from ipckit.server.rundir.runtime_dir import private_directory, runtime_directory
from ipckit.server.tasks.spill import SpillDirectory


@pytest.fixture
def spill(tmp_path):
    made = SpillDirectory(str(tmp_path / "run"))
    yield made
    if os.path.exists(made.path):
        made.destroy()


@pytest.mark.parametrize("size", [0, 1, 8192, 5 << 20])
def test_a_body_comes_back(spill, size):
    body = os.urandom(size)
    spill.write("task-7", body)
    spill.write("task-7", b"an attempt later: it is there already")
    assert spill.read("task-7", size) == spill.read("task-7") == body
    assert os.stat(f"{spill.path}/task-7").st_mode & 0o777 == 0o600
    spill.remove("task-7")
    spill.remove("task-7")
    assert spill.read("task-7", size) is None
    assert os.listdir(spill.path) == []


def test_what_is_not_ours_is_refused(spill, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"12345")
    os.symlink(secret, f"{spill.path}/task-1")
    with pytest.raises(ProtocolError, match="symbolic links"):
        spill.read("task-1", 5)
    os.mkfifo(f"{spill.path}/task-2")
    with pytest.raises(ProtocolError, match="not a plain file"):
        spill.read("task-2", 0)
    spill.write("task-3", b"12345")
    with pytest.raises(ProtocolError, match="5 bytes, 6 were written"):
        spill.read("task-3", 6)


@pytest.mark.needs_root
def test_another_users_file_is_refused(spill):
    spill.write("task-4", b"12345")
    os.chown(f"{spill.path}/task-4", 65534, 65534)
    with pytest.raises(ProtocolError, match="not a plain file of ours"):
        spill.read("task-4", 5)


def test_the_directory_must_be_private(tmp_path):
    path = str(tmp_path / "deep" / "run")
    assert private_directory(path) == path
    assert os.stat(path).st_mode & 0o777 == 0o700
    assert private_directory(path) == path
    os.chmod(path, 0o750)
    with pytest.raises(AccessDenied, match="mode 0700"):
        private_directory(path)
    (tmp_path / "file").touch()
    with pytest.raises(AccessDenied):
        private_directory(str(tmp_path / "file"))
    os.symlink(path, tmp_path / "link")
    with pytest.raises(AccessDenied):
        private_directory(str(tmp_path / "link"))


@pytest.mark.needs_root
def test_another_users_directory_is_refused(tmp_path):
    path = str(tmp_path / "theirs")
    os.mkdir(path, 0o700)
    os.chown(path, 65534, 65534)
    with pytest.raises(AccessDenied, match="of user 65534"):
        SpillDirectory(path)


def test_what_cannot_be_written_leaves_nothing(spill):
    os.rmdir(spill.path)
    with pytest.raises(SystemCallError, match=r"5 bytes into .*: make room there") as refused:
        spill.write("task-5", b"12345")
    assert refused.value.errno == errno.ENOENT


def test_destroy_leaves_nothing(tmp_path):
    made = SpillDirectory(str(tmp_path / "run"))
    for number in range(5):
        made.write(f"task-{number}", b"x")
    made.destroy()
    assert os.listdir(tmp_path / "run") == []


def test_where_run_time_files_go(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_directory(None) == f"{tmp_path}/ipckit"
    assert runtime_directory("relative") == os.path.abspath("relative")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    user = os.geteuid()
    assert runtime_directory(None) == ("/run/ipckit" if user == 0 else f"/var/tmp/ipckit-{user}")


def test_a_body_that_cannot_be_read_now_is_not_taken_for_a_strangers(spill):
    """P7: EMFILE costs an attempt. A file that is not ours ends the task (test above)."""
    spill.write("task-3", b"12345")
    with no_descriptors(), pytest.raises(SystemCallError) as raised:
        spill.read("task-3", 5)
    assert raised.value.errno == errno.EMFILE
    assert spill.read("task-3", 5) == b"12345"


def test_the_directory_goes_at_the_second_attempt_too(spill):
    spill.write("task-3", b"12345")
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        spill.destroy()
    spill.destroy()
    assert not os.path.exists(spill.path)

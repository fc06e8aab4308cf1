"""What a dead server left: it is removed only while it is what was noted, and nobody has it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ipckit import Int, SysvQueue, Table
from ipckit.server.rundir import leftovers
from ipckit.server.rundir.run_record import RunRecord, dead_runs, live_runs, sweep
from ipckit.server.system.socket_file import is_abandoned


def replace(path) -> None:
    """Put another file at the path; both are there for a moment, so it has another inode."""
    other = path.with_name("other")
    other.touch()
    os.replace(other, path)


def test_a_segment_of_the_same_name_is_another(tmp_path):
    path = tmp_path / "segment"
    path.touch()
    thing = leftovers.of_segment(str(path))
    replace(path)
    assert not leftovers.is_there(thing) and leftovers.remove(thing) is False
    assert path.exists()
    thing = leftovers.of_segment(str(path))
    assert leftovers.remove(thing) is True and not path.exists()
    assert leftovers.remove(thing) is False


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_goes_when_nobody_answers(tmp_path, kind):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(path))
        if kind == socket.SOCK_STREAM:
            sock.listen(0)
        thing = leftovers.of_socket(str(path))
        assert not leftovers.is_there(thing) and leftovers.remove(thing) is False
        if kind == socket.SOCK_STREAM:
            with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as more:
                for client in (one, more):
                    client.setblocking(False)
                    client.connect_ex(str(path))
                assert not leftovers.is_there(thing), "its backlog is full"
    assert leftovers.is_there(thing)
    replace(path)
    assert not leftovers.is_there(thing)
    assert not is_abandoned(str(path)), "a plain file is no socket"


def test_what_is_no_thing_is_not_there():
    for thing in ({}, {"queue": "x"}, {"segment": "/"}, {"directory": 5}, {"pid_file": "/nowhere"}):
        assert not leftovers.is_there(thing) and leftovers.remove(thing) is False
    assert leftovers.in_words({"pid_file": "/nowhere"}) == "pid file /nowhere"


def test_a_kept_thing_stays_until_it_is_asked_for_or_a_live_run_has_it(tmp_path):
    directory, kept = str(tmp_path), SysvQueue.create()
    name = f"test.{os.getpid()}"
    table = Table(1, columns={"n": Int(1)}, name=name)
    file = Path(f"/dev/shm/ipckit.{name}")
    pid = os.fork()
    if pid == 0:
        record = RunRecord(directory)
        record.note_queue(kept, kept=True)
        record.note_segments(os.getpid())
        record.note_segments(os.getppid())
        record.note_pid_file("/nowhere")
        os._exit(0)
    os.waitpid(pid, 0)
    assert sweep(directory) == []
    ((_, things),) = dead_runs(directory)
    assert [leftovers.in_words(thing) for thing in things] == [
        f"queue {kept.id}",
        f"segment {file}",
    ], "the line of what is gone went"

    table.close()
    record = RunRecord(directory)
    record.note_segments(os.getpid())
    record.note_queue(kept, kept=True)
    ((_, things),) = dead_runs(directory)
    assert [leftovers.in_words(thing) for thing in things] == [f"segment {file}"]
    assert live_runs(directory) == [], "one's own record is not opened: that would end its lock"
    assert sweep(directory, lambda thing: "segment" in thing) == [f"segment {file}"]
    assert dead_runs(directory) == [] and not file.exists()
    record.finish()
    assert os.listdir(directory) == []
    kept.remove()

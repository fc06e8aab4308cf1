"""Run records: what of a dead run is removed, and what never is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import LOOK

from ipckit import SysvQueue
from ipckit.cli import main
from ipckit.server.rundir.run_record import RunRecord, dead_runs, sweep

DIES = """
import os, sys
from ipckit import SysvQueue
from ipckit.server.rundir.run_record import RunRecord
directory = sys.argv[1]
record = RunRecord(directory)
queue = SysvQueue.create()
record.note_queue(queue)
os.mkdir(os.path.join(directory, "spill-1-x"), 0o700)
open(os.path.join(directory, "spill-1-x", "task-1"), "w").close()
record.note_directory(os.path.join(directory, "spill-1-x"))
pid_file = os.path.join(directory, "pid")
with open(pid_file, "w") as file:
    file.write(str(os.getpid()))
record.note_pid_file(pid_file)
print(queue.id, flush=True)
if len(sys.argv) > 2:
    sys.stdin.readline()
os._exit(9)
"""


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    return path


def died(directory) -> int:
    """Let a process make things and die; return its queue's id."""
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(directory)], capture_output=True, timeout=LOOK, check=False
    )
    assert done.returncode == 9, done.stderr
    return int(done.stdout)


def exists(queue: int) -> bool:
    rows = Path("/proc/sysvipc/msg").read_text().splitlines()[1:]
    return any(row.split()[1] == str(queue) for row in rows)


def test_what_a_dead_run_left_is_removed(directory):
    queue = died(directory)
    assert exists(queue) and len(dead_runs(str(directory))) == 1
    assert len(sweep(str(directory))) == 3
    assert not exists(queue) and os.listdir(directory) == []
    assert sweep(str(directory)) == []


def test_a_live_run_keeps_what_it_has(directory):
    with subprocess.Popen(
        [sys.executable, "-c", DIES, str(directory), "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as alive:
        queue = int(alive.stdout.readline())
        alive.stdin.flush()
        assert sweep(str(directory)) == [] and exists(queue)
        alive.stdin.close()
        alive.wait(LOOK)
    assert len(sweep(str(directory))) == 3


def test_our_own_record_keeps_its_lock(directory):
    """To look at it would end it: a process has one lock for all its descriptors of a file."""
    record = RunRecord(str(directory))
    record.note_pid_file("/nowhere")
    assert sweep(str(directory)) == []
    program = f"from ipckit.server.rundir.run_record import sweep; print(sweep({str(directory)!r}))"
    other = [sys.executable, "-c", program]
    assert subprocess.run(other, capture_output=True, timeout=LOOK, check=True).stdout == b"[]\n"
    assert len(os.listdir(directory)) == 1
    record.finish()
    assert os.listdir(directory) == []


def test_a_thing_that_is_somebody_elses_by_now_stays(directory):
    queue = died(directory)
    (path,) = directory.glob("run-*")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["changed_at"] -= 1  # the number was given again
    lines[1]["directory"] = str(directory / "mine")
    (directory / "mine").mkdir()
    (directory / "pid").write_text("1")
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"queue": 1')
    assert sweep(str(directory)) == []
    assert exists(queue)
    assert (directory / "mine").is_dir() and (directory / "pid").read_text() == "1"
    SysvQueue.open_id(queue).remove()


def test_the_command_asks_first(directory, capsys, monkeypatch):
    queue = died(directory)
    arguments = ["rm", "--leaked", "--runtime-dir", str(directory)]
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert main(arguments) == 1
    assert exists(queue) and f"queue:{queue}  " in capsys.readouterr().err
    assert main([*arguments, "--yes", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["removed"]) == 3
    assert not exists(queue)
    assert main(arguments) == 0
    assert "nothing is left" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": [], "gone_before": []}

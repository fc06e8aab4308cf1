"""`ipckit limits` and `doctor` on machines that are made wrong: low limits, another distribution."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import pytest
from command import ipckit_json
from serving import LOOK

from ipckit.queue import SharedQueue

APP = """
from ipckit import Server
server = Server("127.0.0.1", 9501, worker_num=3, task_worker_num=5, max_connection=1000)
server.on("receive", print)
server.on("task", print)
"""


def run(*words, folder=None, first=(), **more) -> dict:
    done = subprocess.run(
        [*first, sys.executable, "-m", "ipckit", *map(str, words), "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
        **more,
    )
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500))


def test_the_needs_are_a_modules(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    module = ("--module", "app:server", "--set", "backlog=100")
    told = run("limits", *module, folder=tmp_path)
    needs = {limit["name"]: limit["needed"] for limit in told["limits"]}
    assert needs["open files, hard limit"] == 1000 + 128 + 3 * 8 + 5 * 6
    assert needs["kernel.pid_max"] == 10 and needs["net.core.somaxconn"] == 100
    told = run("limits", *module, folder=tmp_path, preexec_fn=few_descriptors)
    assert told["short"] == ["open files, hard limit"]
    told = run(
        "doctor", *module, "--runtime-dir", tmp_path / "run", folder=tmp_path,
        preexec_fn=few_descriptors,
    )  # fmt: skip
    assert told["wrong"] == ["open files, hard limit"]
    (check,) = [each for each in told["checks"] if each["state"] == "wrong"]
    assert check["found"] == "500 descriptors, 1,182 are needed"
    assert "LimitNOFILE=1182" in check["step"]


def test_another_distribution_of_the_name_is_wrong(tmp_path):
    folder = tmp_path / "ipckit-9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: ipckit\nVersion: 9.9\n")
    (folder / "top_level.txt").write_text("ipckit\n")
    told = run("doctor", "--runtime-dir", tmp_path / "run", env={"PYTHONPATH": str(tmp_path)})
    (check,) = [each for each in told["checks"] if each["name"] == "distribution"]
    assert check["state"] == "wrong"
    assert "pip uninstall ipckit" in check["step"]


@pytest.mark.parametrize("module", ["uvloop", "sysv_ipc", "posix_ipc", "msgspec"])
def test_half_an_installation_is_told(tmp_path, module):
    (tmp_path / f"{module}.py").write_text("raise ImportError('it is not here')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    told = run("doctor", "--runtime-dir", tmp_path / "run", env=environment)
    assert told["wrong"][0] == "modules"
    (check,) = [each for each in told["checks"] if each["name"] == "modules"]
    assert check["found"] == f"cannot be imported: {module} (it is not here)"
    assert "pip install" in check["step"]
    assert "it is not here: see `ipckit doctor`" in run("ls", env=environment)["error"]


def test_what_a_killed_server_left_is_wrong(small, tmp_path):
    settings = f"runtime_dir={str(tmp_path / 'run')!r}, task_worker_num=1, task_ipc_mode=2"
    callbacks = 'server.on("receive", print)\nserver.on("task", print)'
    arguments = (
        "doctor",
        "--set",
        "max_connection=1",
        "--set",
        "backlog=1",
        "--runtime-dir",
        tmp_path / "run",
    )
    server = small(callbacks, settings)
    assert ipckit_json(*arguments)["wrong"] == []
    server.kill_all()
    told = ipckit_json(*arguments, code=1)
    assert told["wrong"] == ["leaked objects"]
    (check,) = [each for each in told["checks"] if each["state"] == "wrong"]
    assert "queue:" in check["found"] and check["step"] == "ipckit rm --leaked"
    ipckit_json("rm", "--leaked", "--yes", "--runtime-dir", tmp_path / "run")
    assert ipckit_json(*arguments)["wrong"] == []


@pytest.mark.needs_root
def test_a_kernel_without_room_for_queues(tmp_path):
    """In name spaces of its own: the machine keeps its limits."""
    low = 'echo 0 > /proc/sys/kernel/msgmni && exec "$@"'
    first = ("unshare", "--ipc", "sh", "-c", low, "sh")
    try:
        subprocess.run([*first, "true"], check=True, capture_output=True, timeout=LOOK)
    except (OSError, subprocess.CalledProcessError) as why:
        pytest.skip(f"no name space here: {why}")
    settings = (
        "--set",
        "task_worker_num=1",
        "--set",
        "task_ipc_mode=3",
        "--set",
        "max_connection=1",
    )
    told = run("limits", *settings, first=first)
    assert told["short"] == ["kernel.msgmni"]


@pytest.mark.needs_namespaces
@pytest.mark.needs_root
def test_a_proc_of_an_outer_pid_namespace(tmp_path):
    first = ("unshare", "--pid", "--fork")
    told = run("doctor", "--runtime-dir", tmp_path / "run", first=first)
    (check,) = [each for each in told["checks"] if each["name"] == "/proc"]
    assert check["state"] == "note" and "outer pid namespace" in check["found"]


def test_shared_queues_are_looked_at(tmp_path):
    def check() -> dict:
        told = run("doctor", "--runtime-dir", tmp_path / "run")
        (found,) = [each for each in told["checks"] if each["name"] == "shared queues"]
        return found

    name = f"doctor-{os.getpid()}"
    path = f"/dev/shm/ipckit-queue.{name}"
    try:
        with SharedQueue.create(name, max_messages=2, max_bytes=4096, max_attempts=1) as queue:
            queue.send(b"one")
            assert name not in check()["found"]
            with pytest.raises(ZeroDivisionError), queue.lease(timeout=LOOK):
                raise ZeroDivisionError
            told = check()
            assert told["state"] == "note"
            assert f"{name}: 1 messages have no attempt left" in told["found"]
            assert queue.statistics().dead == 1, "a look changes nothing"
        os.truncate(path, 0)  # no process has mapped it
        told = check()
        assert told["state"] == "wrong" and f"{name} is damaged" in told["found"]
        assert "ipckit rm shared-queue:" in told["step"]
    finally:
        os.unlink(path)

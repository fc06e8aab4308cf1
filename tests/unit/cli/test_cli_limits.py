"""Limits against needs, and the checks of `doctor`, each met once as it should be and once not."""

from __future__ import annotations

import dataclasses
import os

import pytest
from command import ipckit_json

from ipckit.cli.machine import checks, facts, limits, shared_queues
from ipckit.queue.shared_views import SharedStatistics
from ipckit.server.config.settings import Settings

PLENTY = facts.Facts(
    msgmax=8192,
    msgmnb=16384,
    msgmni=32000,
    queues=5,
    mq_messages=10,
    mq_size=8192,
    mq_queues=256,
    mq_bytes=819200,
    shm_size=2**30,
    shm_free=2**30,
    descriptors=float("inf"),
    somaxconn=4096,
    processes=float("inf"),
    pid_max=32768,
    cgroup_pids=None,
    cgroup_memory=float("inf"),
    container="",
)
BUSY = {"worker_num": 4, "task_worker_num": 8}


def short(settings=BUSY, **changes) -> dict[str, float]:
    found = limits.compare(dataclasses.replace(PLENTY, **changes), Settings(**settings))
    return {limit.name: limit.needed for limit in found if limit.short}


def test_the_kernels_defaults_are_enough():
    assert short() == {}


@pytest.mark.parametrize(
    ("name", "settings", "fact", "enough", "least"),
    [
        ("kernel.msgmni", {"task_ipc_mode": 2}, "msgmni", 6, 6),
        ("kernel.msgmni", {"task_ipc_mode": 1}, "msgmni", 5, 5),
        ("net.core.somaxconn", {"backlog": 700}, "somaxconn", 700, 700),
        ("processes of the control group", {}, "cgroup_pids", 14, 14),
        ("processes of this user", {}, "processes", 14, 14),
        ("kernel.pid_max", {}, "pid_max", 14, 14),
        ("open files, hard limit", {"max_connection": 100}, "descriptors", 308, 308),
        ("fs.mqueue.msg_max", {}, "mq_messages", 10, 10),
        ("fs.mqueue.msgsize_max", {}, "mq_size", 8192, 8192),
    ],
)
def test_a_limit_is_short_from_one_below_what_is_needed(name, settings, fact, enough, least):
    settings = {**BUSY, **settings}
    assert short(settings, **{fact: enough}) == {}
    assert short(settings, **{fact: enough - 1}) == {name: least}


def test_a_ledger_needs_its_memory_and_a_named_one_shared_files():
    settings = {**BUSY, "task_memory": 2**26}
    (needed,) = short(settings, cgroup_memory=2**26).values()
    assert 2**26 < needed < 2**27, "task_memory, and a record for each task"
    assert short(settings, cgroup_memory=needed) == {}
    assert short(settings, shm_free=0) == {}
    assert short({**settings, "task_ledger": "jobs"}, shm_free=needed - 1) == {
        "/dev/shm free": needed
    }
    assert short({"worker_num": 1}, cgroup_memory=0) == {}, "no tasks, no ledger"


def test_what_is_not_known_is_not_short_and_each_says_how_to_raise_it():
    unknown = {field.name: None for field in dataclasses.fields(facts.Facts)}
    for limit in limits.compare(facts.Facts(**unknown), Settings(**BUSY)):
        assert not limit.short and limit.form()["value"] is None
        assert "{}" not in limit.advice and limit.about
    few = dataclasses.replace(PLENTY, somaxconn=10)
    (limit,) = [each for each in limits.compare(few, Settings(backlog=600)) if each.short]
    assert "net.core.somaxconn=600" in limit.advice


def test_the_facts_of_this_machine_are_read():
    found = facts.read()
    with open("/proc/sys/kernel/msgmax", encoding="ascii") as file:
        assert found.msgmax == int(file.read())
    assert found.shm_size >= found.shm_free > 0
    assert found.queues >= 0 and found.pid_max > 1


def test_the_commands(tmp_path):
    told = ipckit_json("limits", "--set", "backlog=1", "--set", "max_connection=1")
    assert told["short"] == [] and len(told["limits"]) == 14
    told = ipckit_json(
        "limits", "--set", f"max_connection={2**20}", "--set", "backlog=65535", code=1
    )
    assert "net.core.somaxconn" in told["short"]
    told = ipckit_json("limits", "--set", "max_connections=1", code=1)
    assert "did you mean 'max_connection'?" in told["error"]
    directory = tmp_path / "run"
    directory.mkdir(mode=0o755)
    arguments = (
        "doctor",
        "--set",
        "max_connection=1",
        "--set",
        "backlog=1",
        "--runtime-dir",
        directory,
    )
    told = ipckit_json(*arguments, code=1)
    assert told["wrong"] == ["runtime directory"]
    by_name = {check["name"]: check for check in told["checks"]}
    assert by_name["runtime directory"]["step"].startswith(f"chmod 700 {directory}")
    directory.chmod(0o700)
    assert ipckit_json(*arguments)["wrong"] == []
    (directory / "spill-4194305-x").mkdir()  # of a process that cannot be
    told = ipckit_json(*arguments, code=1)
    assert told["wrong"] == ["leaked objects"]
    assert ipckit_json(
        "limits", "--module", "no_such_module:server", code=1
    )["error"].startswith("there is no module 'no_such_module'")  # fmt: skip


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: path.write_text(""), "is no directory"),
        (lambda path: path.mkdir(mode=0o750), "is open to others: mode 0o750"),
        (lambda path: path.symlink_to("/"), "is no directory"),
    ],
)
def test_a_runtime_directory_that_servers_cannot_have(tmp_path, make, found):
    path = tmp_path / "run"
    assert checks.runtime_place(str(path)).state == "ok"
    make(path)
    told = checks.runtime_place(str(path))
    assert told.state == "wrong" and found in told.found and "runtime_dir" in told.step


def test_a_runtime_directory_of_too_long_a_name_or_of_nobody(tmp_path):
    assert "at most 107 bytes" in checks.runtime_place("/tmp/" + "x" * 90).found
    if os.geteuid() == 0:
        path = tmp_path / "run"
        path.mkdir(mode=0o700)
        os.chown(path, 12345, -1)
        assert "belongs to user 12345" in checks.runtime_place(str(path)).found
    assert "cannot be made in /proc" in checks.runtime_place("/proc/ipckit").found or (
        os.access("/proc", os.W_OK)
    )


@pytest.mark.parametrize(
    ("texts", "removes"),
    [
        ([], True),
        (["[Login]\n#RemoveIPC=no\n"], True),
        (["[Login]\nRemoveIPC=no\n"], False),
        (["RemoveIPC=no\n", " RemoveIPC = yes\n"], True),
        (["RemoveIPC=yes\nRemoveIPC=off\n", ""], False),
    ],
)
def test_what_logind_does_at_logout(texts, removes):
    assert checks.removes_ipc(texts) is removes


def test_full_shared_memory_is_wrong():
    low = dataclasses.replace(PLENTY, shm_free=2**20)
    told = {check.name: check for check in checks.examine(low, lambda: ["/nowhere"])}
    assert told["shared memory"].state == "wrong"
    assert "1 of 1,024 MiB are free" in told["shared memory"].found


@pytest.mark.parametrize(
    ("status", "state"),
    [("Pid:\t7\nNSpid:\t7\n", "ok"), ("Pid:\t900\nNSpid:\t900\t2\n", "note"), ("Pid:\t7\n", "ok")],
)
def test_proc_of_an_outer_pid_namespace_is_a_note(status, state):
    told = checks.proc_of(status)
    assert told.state == state
    assert ("mount -t proc" in told.step) == (state == "note")


IDLE_QUEUE = SharedStatistics(
    messages=0,
    leased=0,
    delayed=0,
    dead=0,
    max_messages=4,
    max_bytes=8192,
    free_bytes=8192,
    oldest_age=None,
    sent=0,
    redelivered=0,
    memory_size=65536,
)


@pytest.mark.parametrize(
    ("queues", "state", "found"),
    [
        ([], "ok", "none with a name"),
        ([{}, None], "ok", "2, 1 of them not readable for this user"),
        ([{}, {"dead": 2}], "note", "q1: 2 messages have no attempt left"),
        (
            [{"messages": 3, "leased": 1, "oldest_age": 7.4}],
            "note",
            "q0: full, 3 of 4 messages wait, the oldest for 7 s",
        ),
        (
            [{"messages": 1, "free_bytes": 0, "oldest_age": 1.0}],
            "note",
            "q0: no room for bodies over 192 bytes, 1 of 1 messages wait, the oldest for 1 s",
        ),
        ([{"dead": 1}, "it is empty"], "wrong", "q1 is damaged: it is empty"),
    ],
)
def test_shared_queues_that_need_a_look(queues, state, found):
    looks = [
        shared_queues.Look(f"q{number}", None, queue)
        if isinstance(queue, str)
        else shared_queues.Look(
            f"q{number}", None if queue is None else dataclasses.replace(IDLE_QUEUE, **queue)
        )
        for number, queue in enumerate(queues)
    ]
    told = shared_queues.judge(looks)
    assert told.state == state and found in told.found
    assert bool(told.step) == (state != "ok")

"""`user` and `group`: workers of a server that root starts are somebody else."""

from __future__ import annotations

import json
import os
import pwd
import signal

import pytest

from ipckit import Server, SettingsError
from ipckit.server.config.identity import resolve

PROGRAM = """
import json

@server.on("receive")
async def receive(server, fd, reactor_id, data):
    who = [os.getresuid(), os.getresgid(), await server.task_async("who", 20)]
    body = os.urandom(1_000_000)
    same = await server.task_async(body, 20) == body
    try:
        await server.task_async("fail")
    except ipckit.TaskFailed as exc:
        failed = str(exc)
    server.send(fd, json.dumps([who, same, failed]).encode() + b"\\n")

@server.on("task")
def task(server, task_id, source, data):
    if data == "who":
        return [list(os.getresuid()), list(os.getresgid())]
    if data == "fail":
        raise ValueError("as asked")
    return data
"""


def test_tasks_of_another_user(small, mode):
    if os.geteuid() != 0:
        with pytest.raises(AssertionError, match="only root can"):
            small(PROGRAM, "user='nobody', task_worker_num=1")
        return
    server = small(
        PROGRAM,
        f"user='nobody', task_worker_num=1, task_ipc_mode={mode}, task_max_attempts=2, "
        f"task_retry_delays=(0,)",
    )
    nobody = pwd.getpwnam("nobody")
    with server.connect() as client:
        for turn in range(2):
            client.sendall(b"go")
            line = client.makefile("rb").readline()
            who, same, failed = json.loads(line)
            ids = [[nobody.pw_uid] * 3, [nobody.pw_gid] * 3]
            assert who == [*ids, ids], turn
            assert same, "a megabyte, there and back"
            assert "after 2 attempts; the last one: ValueError: as asked" in failed
    assert "Traceback" not in server.end()


def test_only_root_can():
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setuid(pwd.getpwnam("nobody").pw_uid)
            resolve("root", None)
        except SettingsError as exc:
            code = 0 if "only root can" in str(exc) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_who_we_are_needs_no_right():
    assert resolve(None, None) is None
    who = resolve(os.geteuid(), os.getegid())
    assert who is not None
    who.assume()
    assert (who.uid, who.gid) == (os.geteuid(), os.getegid())
    assert Server("127.0.0.1", 0, user=os.geteuid()).ports[0].forget() is None


KEY = 0x1DC0DE02


@pytest.mark.needs_root
@pytest.mark.parametrize("keyed", [False, True], ids=["private queue", "keyed queue"])
def test_a_killed_server_of_another_user_starts_again(small, tmp_path, keyed):
    """What the dead one left belongs to that user, and is taken up or removed all the same."""
    options = (
        f"user='nobody', task_worker_num=1, task_ipc_mode=2, runtime_dir={str(tmp_path / 'run')!r},"
        f"task_ledger='test-identity', message_queue_key={KEY if keyed else 0}"
    )
    before = queues()
    first = small(PROGRAM, options)
    answer(first)
    first.kill()
    second = small(PROGRAM, options)
    answer(second)
    assert "Traceback" not in second.end()
    assert queues() == before


def answer(server):
    with server.connect() as client, client.makefile("rb") as lines:
        client.sendall(b"go")
        return json.loads(lines.readline())


def queues() -> list[str]:
    with open("/proc/sysvipc/msg") as file:
        return [line.split()[1] for line in file]


LOGS = """
@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send(fd, b"heard")
    raise ValueError("as asked")
"""


@pytest.mark.needs_root
def test_a_log_in_a_directory_closed_to_that_user_is_written(small, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    log = closed / "log"
    server = small(LOGS, f"user='nobody', log_file={str(log)!r}")
    with server.connect() as client:
        for _ in range(2):
            client.sendall(b"go")
            assert client.recv(100) == b"heard"
    server.end()
    assert log.read_text().count("ValueError: as asked") == 2


@pytest.mark.needs_root
def test_a_reload_makes_workers_of_that_user_again(small):
    server = small(PROGRAM, "user='nobody', task_worker_num=1, task_max_attempts=2")
    nobody = pwd.getpwnam("nobody").pw_uid
    before = server.children()
    server.process.send_signal(signal.SIGUSR1)
    server.wait_for(lambda: len(server.children()) == 2 and not server.children() & before)
    assert answer(server)[0][0] == [nobody] * 3


SEGMENTS = """
table = ipckit.Table(4, columns={"asked": ipckit.Int(8)}, name=f"identity-{os.getpid()}")
queue = ipckit.queue.SharedQueue.create(f"identity-{os.getpid()}", max_messages=4, max_bytes=4096)

@server.on("receive")
async def receive(server, fd, reactor_id, data):
    table.incr("row", "asked")
    queue.send(b"%d" % os.geteuid())
    server.send(fd, queue.receive(timeout=20).body + b"\\n")

@server.on("shutdown")
def shutdown(server):
    print("asked", table.get("row", "asked"), flush=True)
    table.remove()
    queue.remove()
"""


@pytest.mark.needs_root
def test_workers_of_another_user_use_tables_and_queues_of_the_program(small):
    """The files belong to root; the workers have them from before they changed their user."""
    server = small(SEGMENTS, "user='nobody'")
    with server.connect() as client:
        client.sendall(b"go")
        assert client.makefile("rb").readline() == b"%d\n" % pwd.getpwnam("nobody").pw_uid
    log = server.end()
    assert "Traceback" not in log
    assert "asked 1\n" in log

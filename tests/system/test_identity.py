"""`user` and `group`: workers of a server that root starts are somebody else."""

from __future__ import annotations

import json
import os
import pwd

import pytest

from ipckit import Server, SettingsError
from ipckit.server.identity import resolve

PROGRAM = """
import json

@server.on("receive")
async def receive(server, fd, reactor_id, data):
    who = [os.getresuid(), os.getresgid(), await server.task_async("who", 20)]
    body = os.urandom(1_000_000)
    same = await server.task_async(body, 20) == body
    try:
        await server.task_async("fail", 20)
    except ipckit.TaskFailed as exc:
        failed = str(exc)
    server.send(fd, json.dumps([who, same, failed]).encode() + b"\\n")

@server.on("task")
def task(server, task_id, source, data):
    if data == "who":
        return [os.getresuid(), os.getresgid()]
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

"""Everything misused once: each error has its class, and its text the value, the limit and the next step."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import LOOK
from misuses import MISUSES, stand_apart

import ipckit
from ipckit import *  # noqa: F403  (the calls of the table are written as a user writes them)
from ipckit import (
    Channel,
    Client,
    Int,
    Lock,
    ObjectQueue,
    PosixQueue,
    Server,
    SharedQueue,
    SockType,
    Str,
    SysvQueue,
    Table,
    TaskClient,
    ftok,
    testing,
)
from ipckit.cli import main
from ipckit.framing import Framing
from ipckit.testing import ProcessMachine, op

HERE = Path(__file__).parent


def machine(**changes):
    """Run a machine with one attribute or more that cannot be."""

    class Machine(ProcessMachine):
        def model(self):
            return 0

        @op()
        def get(self):
            return 0

        @get.model
        def _(self, state):
            return state, 0

    for name, value in changes.items():
        setattr(Machine, name, value)
        if hasattr(value, "__set_name__"):
            value.__set_name__(Machine, name)
    Machine.TestCase().debug()


@contextlib.contextmanager
def objects():
    """What the calls of the table are made on."""
    columns = {"visits": Int(8), "small": Int(1), "name": Str(4)}
    with contextlib.ExitStack() as held:
        sysv = held.enter_context(SysvQueue.create())
        held.callback(sysv.remove)
        shared = held.enter_context(SharedQueue(2, 4096))
        other = held.enter_context(SharedQueue(2, 4096))
        other.send(b"a")
        lease = other.lease()
        jobs = held.enter_context(ObjectQueue(2, 4096))
        posix = held.enter_context(
            PosixQueue.create(f"/ipckit-misuse-{os.getpid()}", max_messages=3)
        )
        held.callback(posix.remove)
        table = held.enter_context(Table(8, columns=columns))
        locked_table = held.enter_context(Table(8, columns=columns))
        held.enter_context(locked_table.lock("a"))
        closed_sysv = SysvQueue.open_id(sysv.id)
        closed_table = Table(8, columns=columns)
        ours, theirs = map(held.enter_context, Channel.pair(max_frame=100))
        closed_end, widow = map(held.enter_context, Channel.pair())
        for each in (closed_sysv, closed_table, closed_end):
            each.close()
        gone_sysv = held.enter_context(SysvQueue.create())
        gone_sysv.remove()
        lock = Lock()
        key = ftok(__file__, "m")
        server_queue = held.enter_context(SysvQueue.open_or_create(key))
        held.callback(server_queue.remove)
        tasks = held.enter_context(TaskClient(key))
        listening = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = held.enter_context(Client(timeout=0))
        client.connect("127.0.0.1", listening.getsockname()[1], timeout=LOOK)
        public = {name: getattr(ipckit, name) for name in ipckit.__all__}
        harness = {name: getattr(testing, name) for name in testing.__all__}
        tools = {"Framing": Framing, "machine": machine, "pickle": pickle}
        yield {**public, **harness, **tools, **locals()}


def error_of(call, names):
    """Return class and text of what a call raises."""
    try:
        eval(call, dict(names))
    except Exception as error:
        return type(error).__name__, str(error)
    return "", "nothing was raised"


def judge(misuse, error, text):
    assert error == misuse.error, text
    assert stand_apart(text, [misuse.value, misuse.limit, misuse.step]), f"{text}\n{misuse}"
    if misuse.step == "must be":
        assert re.search(f"must be.*{re.escape(misuse.limit)}", text), text


def rows(*where):
    found = [misuse for misuse in MISUSES if misuse.where in where]
    return pytest.mark.parametrize("misuse", found, ids=lambda misuse: misuse.call)


@rows("alone")
def test_in_one_process(misuse):
    with objects() as names:
        judge(misuse, *error_of(misuse.call, names))


async def on_start(server):
    """A callback that the manager, which has no event loop, cannot run."""


@rows("manager")
def test_a_server_that_has_not_started(misuse):
    server = Server("127.0.0.1")
    try:
        before = server.setting
        with socket.create_server(("127.0.0.1", 0)) as other:
            names = {"server": server, "Server": Server, "SockType": SockType, "on_start": on_start}
            names["busy"] = other.getsockname()[1]
            judge(misuse, *error_of(misuse.call, names))
        assert server.setting == before, "something was changed"
    finally:
        for port in server.ports:
            port.forget()


def first_step(coroutine):
    """Run a coroutine until it waits: what is refused is refused before that."""
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


def serve():
    """A server whose worker and task worker make the calls of the table, and print what came."""
    server = Server("127.0.0.1", worker_num=1, task_worker_num=1, log_level="ERROR")
    server.set(runtime_dir=os.getcwd())
    os.mkfifo("fifo")
    server.on("receive", print)
    server.on("pipe_message", print)

    def told(where):
        calls = [misuse.call for misuse in MISUSES if misuse.where == where]
        names = {"server": server, "run": first_step}
        return {call: error_of(call, names) for call in calls}

    @server.on("task")
    def task(server, task_id, source, data):
        return told("task")

    @server.on("finish")
    def finish(server, task_id, result):
        print(json.dumps({"worker": told("worker"), "task": result}), flush=True)
        server.shutdown()

    @server.on("worker_start")
    def begin(server, worker_id):
        if not server.taskworker:
            server.task("go")

    server.start()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """What the calls answered in the processes of a live server."""
    folder = tmp_path_factory.mktemp("server")
    done = subprocess.run(
        [sys.executable, "-c", "import test_misuses; test_misuses.serve()"],
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent}"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@rows("worker", "task")
def test_in_a_running_server(misuse, running):
    judge(misuse, *running[misuse.where][misuse.call])


SOCKET = "/none/ipckit.sock"
WRONG_COMMANDS = {
    ("statuss",): ("'statuss'", "choose from", "'status'"),
    ("status", SOCKET): (SOCKET, "no server answers there", "give its control socket"),
    ("reload", SOCKET): (SOCKET, "no server answers there", "give its control socket"),
    ("stop", SOCKET): (SOCKET, "no server answers there", "give its control socket"),
    ("connections", SOCKET): (SOCKET, "no server answers there", "give its control socket"),
    ("top", SOCKET): (SOCKET, "No such file", "give a server's control socket or pid file"),
    ("top", "--interval", "0"): ("0:", "0.1..3600 seconds", "must be"),
    ("top", "--web", "--port", "65536"): ("'65536'", "1..65535", "must be"),
    ("metrics", "--port", "65536"): ("'65536'", "0..65535", "must be"),
    ("metrics", "--port", "http"): ("'http'", "0..65535", "must be"),
    ("run", "app"): ("'app'", "is not MODULE:SERVER", "such as app:server"),
    ("run", "none:server"): ("'none'", "there is no module", "name that in PYTHONPATH"),
    ("run", "json:lods"): ("'lods'", "the module 'json' has no", "did you mean"),
    ("run", "os:path"): ("os:path", "no ipckit.Server", "name a server, or a function"),
    ("run", "json:x", "--set", "user"): ("'user'", "is not NAME=VALUE", "such as worker_num=4"),
    ("dead", "ls", "/none"): ("/none", "there is no file", "give the server's dead_letter_path"),
    ("dead", "ls", __file__): (__file__, "not a database", "give the dead_letter_path"),
    ("rm", "queue-none"): ("'queue-none'", "there is no", "take a name as `ipckit ls` prints it"),
    ("rm",): ("--leaked", "names", "say what"),
    ("bench", "queues"): ("'queues'", "there is no", "to measure: queue, table, task, echo"),
    ("completion", "tcsh"): ("'tcsh'", "choose from", "'bash'"),
}


@pytest.mark.parametrize("arguments", WRONG_COMMANDS, ids=" ".join)
def test_the_command(arguments, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])  # `run` changes these, for a process of its own
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    with pytest.raises(SystemExit) as ended:
        sys.exit(main([*arguments]))
    assert ended.value.code in {1, 2}
    printed = capsys.readouterr()
    assert printed.out == ""
    said = printed.err.splitlines()[-1]
    assert stand_apart(said, WRONG_COMMANDS[arguments]), said


def test_the_table_covers_the_public_api():
    """At least 60 misuses, none twice, and no public name but the errors is left out."""
    calls = [misuse.call for misuse in MISUSES]
    assert len({(misuse.where, misuse.call) for misuse in MISUSES}) == len(MISUSES) >= 60
    assert all(map(all, MISUSES)), "an empty cell checks nothing"
    for misuse in MISUSES:
        assert misuse.step == "must be" or " " in misuse.step, f"no step in words: {misuse}"
    text = " ".join(calls)
    plain = {"__version__", "SockType", "TaskIPC", "Float", "Bytes"}  # nothing to misuse
    for name in set(ipckit.__all__) - set(ipckit._ERRORS) - plain - {"Server"}:
        assert name in text, f"{name} is misused by no row"

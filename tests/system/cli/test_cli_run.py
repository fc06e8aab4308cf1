"""`ipckit run module:server`: a reload takes new code, and reports code that cannot be loaded."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
from command import ipckit, ipckit_json
from leaks import children
from serving import LOOK, end_in_order

from ipckit import Table

APP = """
import os
from ipckit import Server
server = Server("127.0.0.1", 0, worker_num=1, task_worker_num=1, runtime_dir="run")
WORD = "one"
@server.on("receive")
def receive(given, fd, reactor_id, data):
    assert given is server
    if data == b"task":
        server.task(fd)
    else:
        server.send(fd, f"{WORD} {os.getpid()}\\n".encode())
@server.on("task")
def task(given, task_id, source, fd):
    server.send(fd, f"{WORD} {os.getpid()}\\n".encode())
@server.on("start")
def start(given): print("start", given.port, os.getpid() != given.manager_pid, flush=True)
@server.on("after_reload")
def after_reload(given): print("reloaded", WORD, given.stats()["worker_num"], flush=True)
@server.on("shutdown")
def shutdown(given): print("shutdown", flush=True)
"""


class Served:
    """A server that `ipckit run` made; `say()` gives its next line."""

    def __init__(self, folder, *words) -> None:
        self.folder = folder
        self.errors = open(folder / "errors", "w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ipckit", "run", *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=self.errors,
        )

    def say(self) -> list[str]:
        assert select.select([self.process.stdout], [], [], LOOK)[0], self.log()
        return self.process.stdout.readline().decode().split()

    def log(self) -> str:
        return (self.folder / "errors").read_text()

    def wait_for_log(self, text: str) -> None:
        end = time.monotonic() + LOOK
        while text not in self.log():
            assert time.monotonic() < end, self.log()
            select.select([], [], [], 0.01)

    def command(self, word: str) -> None:
        (path,) = (self.folder / "run").glob("control-*.sock")
        ipckit(word, path)

    def end(self) -> None:
        try:
            end_in_order(self.process)
        finally:
            self.errors.close()


@pytest.fixture
def serve(tmp_path):
    with contextlib.ExitStack() as ends:

        def begin(code: str, *words, file="app.py") -> Served:
            (tmp_path / file).write_text(textwrap.dedent(code))
            served = Served(tmp_path, *words)
            ends.callback(served.end)
            return served

        yield begin


def ask(sock: socket.socket, text: bytes) -> list[str]:
    sock.sendall(text)
    return sock.recv(100).decode().split()


def test_a_reload_takes_new_code(serve, tmp_path):
    served = serve(APP, "app:server")
    word, port, aside = served.say()
    assert (word, aside) == ("start", "True")
    with socket.create_connection(("127.0.0.1", int(port)), LOOK) as client:
        first, worker = ask(client, b"word")
        second, task_worker = ask(client, b"task")
        assert first == second == "one"

        (tmp_path / "app.py").write_text(APP.replace('"one"', '"two"'))  # as long as before
        assert ask(client, b"word") == ["one", worker], "nothing happens before the reload"
        served.command("reload")
        assert served.say() == ["reloaded", "two", "1"]
        assert ask(client, b"word")[0] == "two", "the connection goes on, with new code"
        assert ask(client, b"task")[0] == "two"
        assert ask(client, b"word")[1] not in (worker, task_worker)

        (tmp_path / "helper.py").write_text("WORD = 'three'\n")
        (tmp_path / "app.py").write_text(APP.replace('WORD = "one"', "from helper import WORD"))
        served.command("reload")
        assert served.say() == ["reloaded", "three", "1"], "a module that is new too"

        (tmp_path / "app.py").write_text(APP + "one / two\n")
        served.command("reload")
        served.wait_for_log("reload ended: a new process did not come up; the old ones stay")
        served.wait_for_log("after_reload did not end well")
        assert "NameError: name 'one' is not defined" in served.log()
        assert ask(client, b"word")[0] == "three"

        more = "server.add_process(print)\nserver.on('before_reload', print)\n"
        changed = APP.replace('"one"', '"four"').replace("num=1", "num=2") + more
        (tmp_path / "app.py").write_text(changed)
        served.command("reload")
        assert served.say() == ["reloaded", "four", "1"]
        told = "worker_num, task_worker_num, the callback of before_reload, the number of user processes"
        assert served.log().count(f"app: {told} changed") == 1
        assert ask(client, b"word")[0] == "four"
    served.command("stop")
    assert served.say() == ["shutdown"]
    assert served.process.wait(LOOK) == 0
    assert os.listdir(tmp_path / "run") == []
    assert not (tmp_path / "__pycache__").exists()


def test_a_function_ports_settings_and_processes_of_a_package(serve, tmp_path):
    code = """
    import signal
    from ipckit import Server, SockType
    def make():
        server = Server("127.0.0.1", 0, open_eof_split=True, package_eof=b";", runtime_dir="run")
        port = server.listen("socket", sock_type=SockType.UNIX_STREAM)
        port.set(open_length_check=True, package_max_length=1000)
        server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, b"<" + data))
        port.on("receive", lambda server, fd, reactor_id, data: server.send(fd, b">" + data))
        def beside(server):
            assert server.worker_id == server.setting["worker_num"] == 3
            print("beside", server.port, flush=True)
            signal.pause()
        server.add_process(beside)
        return server
    """
    (tmp_path / "shop").mkdir()
    settings = ("--set", "worker_num=3", "--set", "package_max_length=100")
    served = serve(code, "shop.mails:make", *settings, file="shop/mails.py")
    word, port = served.say()
    assert word == "beside"
    with socket.create_connection(("127.0.0.1", int(port)), LOOK) as client:
        client.sendall(b"a;b;")
        assert client.recv(3) + client.recv(3) == b"<a;<b;"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(LOOK)
        client.connect(str(tmp_path / "socket"))
        client.sendall(b"\0\0\0\3abc")
        assert client.recv(100) == b">\0\0\0\3abc"

    text = (tmp_path / "shop/mails.py").read_text()
    (tmp_path / "shop/mails.py").write_text(text.replace('listen("socket"', 'listen("other"'))
    served.command("reload")
    served.wait_for_log("the address is other:0 now, and was socket:0 at the start")
    served.wait_for_log("the old ones stay")

    (tmp_path / "shop/mails.py").write_text(text.replace("server.add_process(", "str("))
    (beside,) = children(served.process.pid) - workers(tmp_path)
    os.kill(beside, signal.SIGKILL)
    served.wait_for_log("the module has no such user process any more: restart the server")


def workers(folder) -> set[int]:
    (path,) = (folder / "run").glob("control-*.sock")
    return {each["pid"] for each in ipckit_json("status", path)["stats"]["workers"]}


@pytest.mark.parametrize(
    ("module", "code", "text"),
    [
        ("nope:server", "", "there is no module 'nope' in "),
        ("app.nope:server", "", "there is no module 'app.nope' in "),
        ("app:server", "import nope", "ModuleNotFoundError: No module named 'nope'"),
        ("app:server", "def f(:", "SyntaxError"),
        ("app:server", "raise SystemExit(4)", "SystemExit: 4"),
        ("app:server", "import os; os._exit(4)", "ended early: exit code 4"),
        ("app:servre", APP, "has no 'servre'; did you mean 'server'?"),
        ("app:WORD", APP, "app:WORD is str, no ipckit.Server; name a server, or a function"),
        ("app:make", "make = dict", "app:make() returned dict, no ipckit.Server"),
        ("app:server", APP + "server.start()", "write `if __name__ == '__main__':` before"),
        ("app:server", APP.replace("task_worker_num", "task_workers_num"), "did you mean"),
        ("app:server", APP.replace('@server.on("receive")', ""), "needs a `receive` callback"),
        ("app:server", APP.replace('"receive"', '"connect"'), "f(server, fd, reactor_id), and"),
        ("app:server", APP.replace('"127.0.0.1", 0', '"127.0.0.1", 1 << 16'), "0..65535"),
        ("app:server", APP.replace('"start", given.port', '"start", 1 / 0'),
         "start did not end well"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_told(tmp_path, module, code, text):
    (tmp_path / "app.py").write_text(code)
    done = run(tmp_path, module, "--json")
    assert done.returncode == 1
    assert text in json.loads(done.stdout.splitlines()[-1])["error"]
    assert text in done.stderr
    assert "importlib" not in done.stderr, "the frames are the user's"


def test_wrong_use(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    for words, text in (
        (("app",), "'app' is not MODULE:SERVER"),
        (("shop/app.py",), "for the file shop/app.py it is shop.app:server"),
        (("app:server", "--set", "worker_num"), "'worker_num' is not NAME=VALUE"),
    ):
        done = run(tmp_path, *words)
        assert done.returncode == 2 and text in done.stderr
    done = run(tmp_path, "app:server", "--set", "worker_nun=2")
    assert "there is no setting 'worker_nun'; did you mean 'worker_num'?" in done.stderr
    done = run(tmp_path, "app:server", "--set", "worker_num=two")
    assert "worker_num='two': must be an int of 1..2047" in done.stderr


def run(folder, *words):
    return subprocess.run(
        [sys.executable, "-m", "ipckit", "run", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )


def test_an_event_of_the_managers_may_end_the_server(serve, tmp_path):
    ends = APP.replace('print("start", ', "given.shutdown(); print(")
    served = serve(ends, "app:server")
    assert len(served.say()) == 2 and served.say() == ["shutdown"]
    assert served.process.wait(LOOK) == 0
    assert "ends in order" in served.log() and "Traceback" not in served.log()


TLS = """
import ssl
from ipckit import Server
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("both.pem")
server = Server("127.0.0.1", 0, worker_num=1, runtime_dir="run", ssl=context)
server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))
server.on("start", lambda server: print("start", server.port, flush=True))
"""


def test_a_certificate_stays_in_the_processes_that_have_loaded_it(serve, tmp_path):
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key -out crt".split(),
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    both = (tmp_path / "key").read_text() + (tmp_path / "crt").read_text()
    (tmp_path / "both.pem").write_text(both)
    port = int(serve(TLS, "app:server").say()[1])
    context = ssl.create_default_context(cafile=str(tmp_path / "crt"))
    with (
        socket.create_connection(("127.0.0.1", port), LOOK) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"


@pytest.mark.needs_root
def test_another_users_workers_import_as_that_user():
    code = """
import os
from ipckit import Server
LOADED_BY = os.geteuid()
server = Server("127.0.0.1", 0, worker_num=1, runtime_dir="run", user="nobody")
server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, f"{LOADED_BY}".encode()))
server.on("start", lambda server: print("start", server.port, flush=True))
"""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # pytest's own are closed to others
        (folder / "app.py").write_text(code)
        served = Served(folder, "app:server")
        try:
            port = int(served.say()[1])
            with socket.create_connection(("127.0.0.1", port), LOOK) as sock:
                assert ask(sock, b"who") == [str(pwd.getpwnam("nobody").pw_uid)]
        finally:
            served.end()
        (folder / "app.py").chmod(0o600)
        done = run(folder, "app:server", "--set", "worker_num=1")
        assert done.returncode == 1 and "Permission denied" in done.stderr


def test_a_named_table_is_shared_and_an_anonymous_one_warns(serve, tmp_path):
    name = f"test.{os.getpid()}"
    code = f"""
import os
from ipckit import AlreadyExists, Int, Server, Table
server = Server("127.0.0.1", 0, worker_num=2, runtime_dir="run")
try:
    table = Table(10, columns={{"n": Int(8)}}, name={name!r})
except AlreadyExists:
    table = Table.open({name!r})
alone = Table(10, columns={{"n": Int(8)}})
def receive(server, fd, reactor_id, data):
    server.send(fd, f"{{os.getpid()}} {{table.incr('all', 'n')}} {{alone.incr('all', 'n')}}".encode())
server.on("receive", receive)
server.on("start", lambda server: print("start", server.port, flush=True))
"""
    try:
        served = serve(code, "app:server")
        port = int(served.say()[1])
        seen: dict[str, int] = {}
        for number in range(1, 200):
            with socket.create_connection(("127.0.0.1", port), LOOK) as sock:
                pid, together, alone = ask(sock, b"x")
            seen[pid] = seen.get(pid, 0) + 1
            assert (int(together), int(alone)) == (number, seen[pid])
            if len(seen) == 2:
                break
        assert len(seen) == 2, "both workers were asked"
        assert "RuntimeWarning: a Table without a name" in served.log()
    finally:
        Table.open(name).remove()


def test_a_parent_that_ignores_its_children_changes_nothing(tmp_path):
    """F45: SIGCHLD is inherited ignored; the server comes up, and its events of the manager run."""
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        served = Served(tmp_path, "app:server")
    finally:
        signal.signal(signal.SIGCHLD, before)
    try:
        assert served.say()[0] == "start"
        served.process.send_signal(signal.SIGUSR1)
        assert served.say() == ["reloaded", "one", "1"]
    finally:
        served.end()


MAKE = """
import enum, ipckit
class Known(enum.IntEnum): TWO = 2
class Word(str): pass
def make():
    class Local(enum.IntEnum): TWO = 2
    server = ipckit.Server("127.0.0.1", 0, worker_num=Local(2), {more})
    server.on("receive", print)
    server.on("start", lambda given: print("start", given.setting["worker_num"], flush=True))
    return server
"""


def test_settings_of_classes_of_the_module_are_told_to_the_manager(serve):
    """Also of a class that cannot be imported: the manager has the plain value."""
    served = serve(MAKE.format(more="log_level=Word('INFO')"), "app:make")
    assert served.say() == ["start", "2"]


def test_a_setting_that_cannot_be_told_to_the_manager_is_named(tmp_path):
    """The error is not lost with the child that has it."""
    more = "task_worker_num=1, task_retry_delays=(Local(2),)"
    (tmp_path / "app.py").write_text(MAKE.format(more=more))
    done = subprocess.run(
        [sys.executable, "-m", "ipckit", "run", "app:make"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    assert done.returncode == 1
    assert "app:make: task_retry_delays cannot be told to the manager" in done.stderr


def test_an_answer_does_not_need_a_stderr_that_takes_it(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ipckit", "run", "no_such_module:server", "--json"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=full,
            timeout=LOOK,
            check=False,
        )
    assert done.returncode == 1
    assert "no_such_module" in json.loads(done.stdout)["error"]


def test_a_process_that_cannot_be_made_to_load_the_module_is_named(tmp_path):
    """The call and its errno, and no descriptor of the attempts is left."""
    code = """
    import os, resource, ipckit.cli.run as run
    from ipckit import SystemCallError
    before = os.listdir("/proc/self/fd")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before), hard))
    try:
        run.application(("mod", "server"), []).server()
    except SystemCallError as exc:
        print(exc)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.listdir("/proc/self/fd") == before
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=True,
    )
    assert "pipe2: Too many open files" in done.stdout

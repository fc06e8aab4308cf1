"""Wrong use is answered: with what is wrong, and before any process exists where that is possible."""

from __future__ import annotations

import socket
import subprocess
import textwrap
import threading

import forkserver
import pytest
from deadlines import LOOK
from serving import Refused

from ipckit import (
    Client,
    MessageTooLarge,
    MisuseError,
    Server,
    SettingsError,
    SockType,
    SystemCallError,
    SysvQueue,
    TaskClient,
)


@pytest.fixture
def server():
    made = Server("127.0.0.1", 0)
    yield made
    for port in made.ports:
        port.forget()


def nothing(*args):
    """A callback."""


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        (
            "task_worker_nun",
            3,
            "there is no setting 'task_worker_nun'; did you mean 'task_worker_num'",
        ),
        ("worker_num", 0, "worker_num=0: must be an int of 1.."),
        ("task_ipc_mode", 4, "task_ipc_mode=4: must be 1 "),
        ("user", "no such one", "user='no such one': must be the name or the number of a user"),
        ("group", -1, "group=-1: must be the name or the number of a group"),
        ("keep_connections", 1, "keep_connections=1: must be"),
        ("package_eof", b"", "package_eof=b'': must be bytes or str of 1..8 bytes"),
    ],
)
def test_wrong_settings(server, setting, value, text):
    """S1: a wrong value is named with its range, and nothing is changed."""
    before = server.setting
    for change in (lambda: server.set({setting: value}), lambda: server.set(**{setting: value})):
        with pytest.raises(SettingsError) as refused:
            change()
        assert text in str(refused.value)
    with pytest.raises(SettingsError):
        Server("127.0.0.1", 0, **{setting: value})
    assert server.setting == before


def test_an_unknown_event_names_the_nearest(server):
    """S1: an event that there is not."""
    with pytest.raises(SettingsError, match="no event 'recieve'; did you mean 'receive'"):
        server.on("recieve", nothing)
    with pytest.raises(SettingsError, match="no event loop"):

        @server.on("worker_error")
        async def worker_error(*args):
            """Cannot be."""


def test_start_checks_callbacks_before_any_process(server):
    """S1: a missing callback, before there is a process."""
    server.set(task_worker_num=1)
    with pytest.raises(SettingsError, match="needs a `receive` callback"):
        server.start()
    server.on("receive", nothing)
    with pytest.raises(SettingsError, match="task_worker_num=1 needs a `task` callback"):
        server.start()


def test_a_busy_port_raises_at_once():
    """S1: a busy port, when the server is made."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(SystemCallError, match=f"bind: .*127.0.0.1:{port}") as refused:
            Server("127.0.0.1", port)
        assert refused.value.errno == 98
    for wrong in (-1, 65536, "80"):
        with pytest.raises(SettingsError, match="port="):
            Server("127.0.0.1", wrong)


def test_ports_that_cannot_be(server):
    extra = server.listen("127.0.0.1", 0, SockType.UDP)
    with pytest.raises(SettingsError, match=r"a port has no setting 'worker_num'"):
        extra.set(worker_num=2)
    with pytest.raises(SettingsError, match=r"'task' is the whole server's"):
        extra.on("task", nothing)
    with pytest.raises(SettingsError, match=r"ssl='cert.pem': must be an ssl.SSLContext"):
        extra.set(ssl="cert.pem")
    server.on("receive", nothing)
    with pytest.raises(SettingsError, match="a datagram port needs a `packet` callback"):
        server.start()


def test_calls_before_start_say_so(server):
    for call in (
        lambda: server.task(1),
        lambda: server.send(1, b"x"),
        lambda: server.close(1),
        lambda: server.exists(1),
        server.stats,
        server.shutdown,
        server.reload,
        lambda: server.tick(1, nothing),
        lambda: server.taskwait(1),
    ):
        with pytest.raises(MisuseError, match="does not run"):
            call()
    with pytest.raises(MisuseError, match="task worker"):
        server.finish(1)
    assert (server.worker_id, server.taskworker, server.current_task) == (-1, False, None)
    assert server.manager_pid == 0


def test_start_needs_a_process_without_threads(server):
    server.on("receive", nothing)
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="mine")
    thread.start()
    try:
        with pytest.raises(MisuseError, match=r"threads cannot be forked safely.*mine"):
            server.start()
    finally:
        stop.set()
        thread.join()


def test_tasks_that_cannot_be_sent(start, mode):
    """D2: a task that cannot be posted raises, and nothing is stored."""
    running = start(task_ipc_mode=mode)
    code = running.client()
    with pytest.raises(Refused, match=r"ValueError.*dst=-2: must be -1"):
        code("call", "task", 1, -2)
    with pytest.raises(Refused, match=r"MisuseError.*inside the `task` callback"):
        code("call", "finish", 1)
    with pytest.raises(Refused, match=r"TaskFailed.*MisuseError: task \d+ was finished already"):
        code("await", "task_async", ("finish_twice",), LOOK)
    with pytest.raises(Refused, match=r"TaskFailed.*MisuseError: task\(\) belongs into a worker"):
        code("await", "task_async", ("task",), LOOK)


def test_tasks_off(start):
    ask = start(task_worker_num=0).client()
    with pytest.raises(Refused, match=r"SettingsError.*task_worker_num=0, so tasks are off"):
        ask("call", "task", 1)


def test_a_message_over_msgmax_names_both_numbers():
    with SysvQueue.create(0x71FF0001) as queue:
        try:
            with pytest.raises(MessageTooLarge, match=r"9000.*8192|8192.*9000"):
                queue.send(b"x" * 9000)
            with pytest.raises(MessageTooLarge, match=r"90\d\d.*8192|8192.*90\d\d"):
                TaskClient(0x71FF0001).post("x" * 9000)
        finally:
            queue.remove()


def run(code: str) -> subprocess.CompletedProcess:
    """Run a small server program to its end."""
    return forkserver.run(textwrap.dedent(code), LOOK)


HEAD = """
import os, sys, ipckit
server = ipckit.Server("127.0.0.1", 0, worker_num=1, task_worker_num=1)
server.on("receive", lambda *args: None)
server.on("task", lambda *args: None)
def serve():
    try:
        server.start()
    except Exception as exc:
        print(type(exc).__name__, exc)
        print(getattr(exc, "worker_id", None), getattr(exc, "remote_traceback", "")[-200:])
    else:
        print("ended")
"""


def test_an_unserialisable_task_names_the_part():
    done = run(
        HEAD
        + """
@server.on("worker_start")
def begin(server, worker_id):
    if worker_id == 0:
        try:
            server.task({"mail": [1, lambda: 1]})
        except TypeError as exc:
            print(exc, flush=True)
        server.shutdown()
serve()
"""
    )
    assert "data['mail'][1] cannot be sent to another process: a function" in done.stdout, done
    assert done.stdout.endswith("ended\n")


def test_worker_start_that_raises_is_boot_failed():
    """S3: `worker_start` that raises, before the server was up."""
    done = run(
        HEAD
        + """
@server.on("worker_start")
def begin(server, worker_id):
    if worker_id == 1:
        raise ValueError("no database")
serve()
"""
    )
    assert "BootFailed worker 1" in done.stdout and "ValueError: no database" in done.stdout, done
    assert "\n1 " in done.stdout


def test_processes_that_die_before_ready_end_the_server():
    """S3: processes that die before they are ready."""
    done = run(
        HEAD
        + """
@server.on("worker_start")
def begin(server, worker_id):
    os.write(1, b"fork\\n")
    if worker_id == 0:
        os._exit(9)
serve()
"""
    )
    assert "BootFailed worker 0: 5 processes died before the server was ready" in done.stdout, done
    assert 6 <= done.stdout.count("fork\n") <= 12


def test_start_that_raises_ends_the_server_and_is_raised():
    """S3: `start` that raises."""
    done = run(
        HEAD
        + """
@server.on("start")
def begin(server):
    raise KeyError("start")
serve()
"""
    )
    assert done.stdout.startswith("KeyError 'start'"), done


def test_a_server_starts_once():
    done = run(
        HEAD
        + """
server.on("start", lambda server: server.shutdown())
serve()
serve()
"""
    )
    assert done.stdout.startswith("ended\nMisuseError this server has ended"), done


def test_callbacks_that_raise_are_logged_and_counted_and_the_server_goes_on():
    """S10: callbacks that raise."""
    done = run(
        HEAD
        + """
server.set(open_eof_split=True, package_eof="\\n")
@server.on("receive")
def receive(server, fd, reactor_id, data):
    if data == b"raise\\n":
        raise ValueError("in receive")
    server.send(fd, str(server.stats()["callback_errors"]).encode())
@server.on("start")
def begin(server):
    if not os.fork():
        client = ipckit.Client()
        client.connect("127.0.0.1", server.port, 120)
        client.send(b"raise\\n")
        client.send(b"count\\n")
        sys.stdout.write("counted %s\\n" % client.recv().decode())
        sys.stdout.flush()
        os.kill(server.manager_pid, 15)
        os._exit(0)
serve()
"""
    )
    assert "ValueError: in receive" in done.stderr, done
    assert "counted 1\n" in done.stdout and "ended" in done.stdout


def test_a_client_says_what_it_cannot():
    with pytest.raises(SettingsError, match="open_eof_splitt"):
        Client(open_eof_splitt=True)


def test_the_descriptor_limit_is_raised_or_the_default_lowered():
    limited = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({}, {}))\n"
    show = """
@server.on("worker_start")
def begin(server, worker_id):
    import resource
    if worker_id == 0:
        print(server.setting["max_connection"], resource.getrlimit(resource.RLIMIT_NOFILE)[0],
              flush=True)
        server.shutdown()
serve()
"""
    done = run(limited.format(256, 20000) + HEAD + show)
    connections, soft = map(int, done.stdout.splitlines()[0].split())
    assert connections == 10000 and soft > 10000, done
    done = run(limited.format(256, 1000) + HEAD + show)
    connections, soft = map(int, done.stdout.splitlines()[0].split())
    assert 500 < connections < 1000 and soft == 1000, done
    assert "max_connection lowered" in done.stderr
    done = run(limited.format(256, 1000) + HEAD + "server.set(max_connection=10000)\n" + show)
    assert done.stdout.startswith("SettingsError max_connection=10000 needs"), done


def test_stats_tell_who_is_busy(start, tmp_path):
    running = start(worker_num=1, task_worker_num=2)
    ask, other = running.client(), running.client()
    ask.tell("await", "task_async", ("held", str(tmp_path / "gate"), 1), LOOK)
    running.wait_for(lambda: running.journal("begin"), "the task runs")
    stats = other("call", "stats")
    assert stats["task_idle_worker_num"] == 1 and stats["task_running"] == 1
    assert stats["idle_worker_num"] == 0, "two receive callbacks are under way"
    (tmp_path / "gate").touch()
    assert ask.hear() == 1
    assert stats["connection_num"] == 2 and stats["worker_num"] == 1
    assert [worker["worker_id"] for worker in stats["workers"]] == [0, 1, 2]
    assert all(worker["rss"] > 1 << 20 for worker in stats["workers"])

"""What the program's own code changes in a process: docs/explanation/user-code.md, row by row.

One program makes one change in every place where its code runs: in a callback of the manager, in
`worker_start` of a worker and of a task worker, in `receive`, in a task. What is harmless leaves a
server that answers, runs tasks, is reloaded, replaces a dead worker and ends in order. What is not
has a test of its own, which says what happens then.
"""

from __future__ import annotations

import contextlib
import os
import signal

import pytest
from serving import LOOK, children_of, gone, wait_for

PROGRAM = """
import atexit, gc, locale, multiprocessing, resource, select, signal, socket, threading, time

def change(place):
    if place in {places!r}:
        {change}

@server.on("before_reload")
def before_reload(server):
    change("manager")

@server.on("after_reload")
def after_reload(server):
    print("reloaded", flush=True) if not OUT else os.write(OUT, b"reloaded\\n")

@server.on("worker_start")
def worker_start(server, worker_id):
    change("task worker" if server.taskworker else "worker")

@server.on("receive")
def receive(server, fd, reactor_id, data):
    if data == b"task":
        server.task(b"", callback=lambda server, task_id, result: server.send(fd, result))
    elif data == b"shutdown":
        server.shutdown()
    else:
        change("receive")
        server.send(fd, b"here")

@server.on("task")
def task(server, task_id, src_worker_id, data):
    change("task")
    return b"done"

OUT = os.dup(1)
"""
ALL = ("manager", "worker", "task worker", "receive", "task")


def program(change: str, *places: str) -> str:
    return PROGRAM.format(change=change, places=places)


def answer(server, word: bytes) -> bytes:
    with server.connect() as client:
        client.sendall(word)
        return client.recv(100)


def serves(server) -> bool:
    return (answer(server, b"who"), answer(server, b"task")) == (b"here", b"done")


def reload(server) -> None:
    """SIGUSR1; every process has a successor after it."""
    before = server.children()
    server.process.send_signal(signal.SIGUSR1)
    assert server.line() == b"reloaded\n"
    server.wait_for(lambda: not server.children() & before and len(server.children()) == 2)


HARMLESS = {
    "SIGTERM": "signal.signal(signal.SIGTERM, lambda *_: None) if place != 'manager' else None",
    "SIGINT SIGHUP SIGQUIT": "[signal.signal(number, lambda *_: None) for number in (1, 2, 3)]",
    "SIGCHLD": "signal.signal(signal.SIGCHLD, lambda *_: None)",
    "wake-up descriptor": "signal.set_wakeup_fd(-1)",
    "mask": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGALRM])",
    "chdir": "os.chdir('/')",
    "umask": "os.umask(0o777)",
    "standard descriptors": "os.closerange(0, 3)",
    "standard streams": "[file.close() for file in (sys.stdin, sys.stdout, sys.stderr)]",
    "locale and environment": "locale.setlocale(locale.LC_ALL, 'C'), os.environ.clear()",
    "garbage collector": "gc.disable(), gc.unfreeze()",
    "loop policy": "asyncio.set_event_loop_policy(None)",
    "own loop": "asyncio.set_event_loop(asyncio.new_event_loop())",
    "fork that exits": "os.waitpid(os.fork() or os._exit(0), 0)",
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_harms_nothing(small, what, tmp_path):
    """Made in all five places; then reloads, a death and the end are as ever."""
    log = tmp_path / "log"
    server = small(
        program(HARMLESS[what], *ALL),
        f"task_worker_num=1, log_file={str(log)!r}, runtime_dir={str(tmp_path / 'run')!r}",
    )
    for _ in range(2):
        assert serves(server) and serves(server)
        reload(server)
    assert "died" not in log.read_text()
    killed = min(server.children())
    os.kill(killed, signal.SIGKILL)
    server.wait_for(lambda: killed not in server.children() and len(server.children()) == 2)
    assert serves(server)
    server.end()
    text = log.read_text()
    assert "did not end" not in text and text.count("died") == 1


def test_a_descriptor_that_was_closed_is_no_client_s(small):
    """No client has one of the numbers 0 to 2: what C code prints would be sent to it."""
    server = small(program("os.closerange(0, 3)", "receive"), "task_worker_num=1")
    (worker, _) = sorted(server.children(), key=lambda pid: names_of(pid).count("eventpoll") == 0)
    assert answer(server, b"who") == b"here"
    with server.connect() as client:
        client.sendall(b"task")
        assert client.recv(100) == b"done"
        for number in range(3):
            with contextlib.suppress(FileNotFoundError):
                assert "socket" not in os.readlink(f"/proc/{worker}/fd/{number}")


def names_of(pid: int) -> str:
    return " ".join(os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.parametrize("daemon", [True, False])
def test_threads_of_the_processes_are_theirs(small, daemon):
    """A process does not wait for them at its end, whatever they are."""
    begin = f"threading.Thread(target=threading.Event().wait, daemon={daemon}).start()"
    server = small(program(begin, *ALL[1:]), "task_worker_num=1")
    assert serves(server)
    reload(server)
    assert serves(server)
    assert "did not end" not in server.end()


def test_a_thread_of_a_manager_s_callback_is_told(small):
    """After the start it is logged at each fork, and the forks are made."""
    begin = "threading.Thread(target=threading.Event().wait, name='mine', daemon=True).start()"
    server = small(program(begin, "manager"), "task_worker_num=1")
    reload(server)
    assert serves(server)
    assert "threads run in the manager (mine)" in server.end()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("signal.signal(signal.SIGTERM, lambda *_: None)", 0),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])", -signal.SIGTERM),
    ],
    ids=["handler", "blocked"],
)
def test_a_manager_without_sigterm_ends_by_shutdown(small, change, code):
    """It is the program's then; shutdown() goes on to work. One that is blocked comes at the end."""
    server = small(program(change, "manager"), "task_worker_num=1")
    reload(server)
    server.process.send_signal(signal.SIGTERM)
    assert serves(server)
    with server.connect() as client:
        client.sendall(b"shutdown")
        server.process.wait(LOOK)
    assert server.process.returncode == code


def test_a_handler_of_the_manager_may_call_shutdown(small):
    own = "signal.signal(signal.SIGTERM, lambda *_: server.shutdown())"
    server = small(program(own, "manager"), "task_worker_num=1")
    reload(server)
    server.end()


def test_a_manager_that_ignores_sigchld_has_no_exit_codes(small):
    """The kernel keeps none; the deaths are noticed all the same."""
    server = small(
        program("signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "manager"), "task_worker_num=1"
    )
    reload(server)
    assert serves(server)
    assert "died: status unknown" in server.end()


def test_os_exit_in_a_callback_is_a_death(small, tmp_path):
    log = tmp_path / "log"
    server = small(program("os._exit(4)", "receive"), f"task_worker_num=1, log_file={str(log)!r}")
    assert answer(server, b"who") == b""
    server.wait_for(lambda: "died: exit code 4" in log.read_text())
    assert answer(server, b"task") == b"done"


def test_os_exit_in_the_manager_ends_the_server(small):
    """As kill -9 of it does (S19): its processes end within two seconds."""
    server = small(program("os._exit(4)", "manager"), "task_worker_num=1")
    processes = server.children()
    server.process.send_signal(signal.SIGUSR1)
    assert server.process.wait(LOOK) == 4
    wait_for(lambda: all(map(gone, processes)))


@pytest.mark.parametrize("place", ["receive", "task"])
def test_a_process_whose_descriptors_are_closed_is_followed(small, place, tmp_path):
    """os.closerange() costs that process: it dies, and the log says how."""
    log = tmp_path / "log"
    flag = tmp_path / "flag"
    once = f"os.path.exists({str(flag)!r}) or (open({str(flag)!r}, 'w'), os.closerange(3, 1 << 16))"
    server = small(program(once, place), f"task_worker_num=1, log_file={str(log)!r}")
    before = server.children()
    answer(server, b"who" if place == "receive" else b"task")
    server.wait_for(lambda: len(server.children() - before) == 1 and len(server.children()) == 2)
    server.wait_for(lambda: "died" in log.read_text())
    assert serves(server)


def test_a_manager_whose_descriptors_are_closed_ends_the_server(small):
    """It could neither see a death nor hear a signal, so it says so and ends."""
    server = small(program("os.closerange(3, 1 << 16)", "manager"), "task_worker_num=1")
    processes = server.children()
    server.process.send_signal(signal.SIGUSR1)
    _, err = server.process.communicate(timeout=LOOK)
    assert server.process.returncode == 1
    assert b"descriptors of the manager were closed" in err
    wait_for(lambda: all(map(gone, processes)))


def test_atexit_runs_in_the_manager_alone(small):
    """The program's own process ends as every program does, the others by _exit(2)."""
    server = small(program("atexit.register(os.write, 1, b'at exit')", *ALL), "task_worker_num=1")
    assert serves(server)
    reload(server)
    assert serves(server)
    assert server.end().count("at exit") == 1


def test_a_worker_without_descriptors_takes_no_client_and_says_so(small, tmp_path):
    """RLIMIT_NOFILE lowered: clients wait, and are taken after the limit is raised or a reload."""
    log = tmp_path / "log"
    lower = "resource.setrlimit(resource.RLIMIT_NOFILE, (8, 4096))"
    server = small(program(lower, "receive"), f"task_worker_num=1, log_file={str(log)!r}")
    assert answer(server, b"who") == b"here"
    with server.connect() as client:
        client.sendall(b"task")
        server.wait_for(lambda: "accept failed: [Errno 24]" in log.read_text())
        server.process.send_signal(signal.SIGUSR1)
        assert client.recv(100) == b"done"
    assert children_of(server.process)


PROCESS = """
(process := multiprocessing.get_context({how!r}).Process(target=print)).start()
        process.join()
        assert process.exitcode == 0, process
"""


def test_a_forked_process_of_a_task_is_joined(small):
    """The task that started it waits for it, and has its exit code."""
    server = small(program(PROCESS.format(how="fork").strip(), "task"), "task_worker_num=1")
    assert serves(server)


TERMINATED = """
(process := multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))).start()
        process.terminate()
        process.join()
        assert process.exitcode == -signal.SIGTERM, process
"""


def test_a_spawned_process_of_a_task_can_be_terminated(small):
    server = small(program(TERMINATED.strip(), "task"), "task_worker_num=1")
    assert serves(server)

"""M4: what the environment does to a running manager costs a step, and never the server.

Limits of processes and descriptors are set from outside by prlimit(2), on the manager alone, while
it serves; log readers go, log handlers raise, callbacks start threads and exit.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from deadlines import LOOK
from serving import Small, children_of, wait_for

WHO = """
@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send(fd, str(os.getpid()).encode())
"""

NOT_ROOT = """
import encodings.ascii, encodings.idna, encodings.latin_1, sqlite3, uvloop, ipckit.server.supervision.manager, ipckit.server.processes.worker
import ipckit.server.processes.task_worker, ipckit.server.processes.user_process, ipckit.queue, ipckit.table
import os
os.chmod(ipckit_runtime, 0o777)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)

import resource, signal
limits = [(1, 10_000), (10_000, 10_000)]
resource.setrlimit(resource.RLIMIT_NPROC, limits[1])

def change(*_):
    limits.append(limits.pop(0))
    resource.setrlimit(resource.RLIMIT_NPROC, limits[-1])

signal.signal(signal.SIGALRM, change)
"""


def pid_of_a_worker(server: Small) -> int:
    with server.connect() as client:
        client.sendall(b"pid")
        return int(client.recv(100))


def open_descriptors(pid: int) -> list[int]:
    return sorted(map(int, os.listdir(f"/proc/{pid}/fd")))


class Limited:
    """A limit of the manager's, until the end of the block."""

    def __init__(self, server: Small, what: int, soft: int) -> None:
        self._pid, self._what, self._soft = server.process.pid, what, soft

    def __enter__(self) -> None:
        self._before = resource.prlimit(self._pid, self._what)
        resource.prlimit(self._pid, self._what, (self._soft, self._before[1]))

    def __exit__(self, *_) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            resource.prlimit(self._pid, self._what, self._before)


@contextlib.contextmanager
def no_more_processes(server: Small):
    """RLIMIT_NPROC by the program's own handler (NOT_ROOT): only it may set that of its user."""
    os.kill(server.process.pid, signal.SIGALRM)
    yield
    os.kill(server.process.pid, signal.SIGALRM)


def wait_while_it_lives(server: Small, condition) -> None:
    """Wait for the condition; the server may not end before."""
    server.wait_for(lambda: server.process.poll() is not None or condition())
    assert server.process.poll() is None, server.process.communicate(timeout=LOOK)


def kill_a_worker_meanwhile(server: Small, log: Path, limit: Any, *lines: str) -> None:
    """Under the limit one of two workers dies: the other one serves, and the dead one comes back
    when the limit is over.
    """
    manager = server.process.pid
    before = server.children()
    killed = min(before)
    (other,) = before - {killed}
    with limit:
        os.kill(killed, signal.SIGKILL)
        wait_while_it_lives(server, lambda: all(line in log.read_text() for line in lines))
        assert pid_of_a_worker(server) == other
        assert server.children() <= {other}, "nobody is left of a fork that failed half way"
    server.wait_for(lambda: len(server.children()) == 2)
    assert other in server.children(), "and nobody else was touched"
    assert server.process.pid == manager and server.process.poll() is None


REFUSED = "fork: Resource temporarily unavailable"


@pytest.fixture
def limited(small):
    """Start a server of two workers whose processes are limited (NOT_ROOT); its log is a file.

    Each run of pytest closes the directories of all runs to other users.
    """
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        log = Path(name, "log")
        log.touch()
        os.chmod(log, 0o666)
        code = f"import os; ipckit_runtime = {name!r}\n{NOT_ROOT}\n{WHO}"
        settings = f"log_file={str(log)!r}, runtime_dir={str(Path(name, 'run'))!r}"
        yield lambda more="": (small(code + more, f"worker_num=2, {settings}"), log)


@pytest.mark.needs_root
def test_f3_a_refused_fork_is_tried_again(limited):
    """S40: F3: the limit of processes is reached for a while (EAGAIN)."""
    server, log = limited()
    kill_a_worker_meanwhile(server, log, no_more_processes(server), REFUSED, "pids.max")


@pytest.mark.needs_root
def test_f3_a_fork_that_is_refused_at_the_start_is_tried_again(limited):
    """S3, F3: the limit of processes is over after the first refusal."""
    until_it_is_logged = """
import logging

class Over(logging.Handler):
    def emit(self, record):
        if "fork: " in record.getMessage() and limits[-1][0] == 1:
            change()

logging.getLogger("ipckit.server").addHandler(Over())
change()
"""
    server, log = limited(until_it_is_logged)
    assert len(server.children()) == 2
    assert REFUSED in log.read_text()


@pytest.mark.needs_root
def test_f3_a_reload_whose_forks_are_refused_leaves_the_old_processes(limited):
    """S40, F3: it is over after a few attempts, and the next one replaces them."""
    server, log = limited()
    before = server.children()
    with no_more_processes(server):
        server.process.send_signal(signal.SIGUSR1)
        wait_while_it_lives(server, lambda: "the old ones stay" in log.read_text())
        assert pid_of_a_worker(server) in before
    assert REFUSED in log.read_text()
    assert server.children() == before
    server.process.send_signal(signal.SIGUSR1)
    wait_while_it_lives(server, lambda: len(server.children() - before) == 2)
    wait_while_it_lives(server, lambda: not server.children() & before)


def test_f5_f8_no_descriptor_for_a_pidfd(small, tmp_path):
    """S40: F5, F8: EMFILE of pidfd_open(2) after the fork: the child is killed, and made again."""
    log = tmp_path / "log"
    server = small(WHO, f"worker_num=2, log_file={str(log)!r}")
    pid = server.process.pid
    links = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in open_descriptors(pid)}
    # Those of the workers come last. That of the dead one is closed before the fork, and the limit
    # keeps its number from being used again.
    pidfds = [fd for fd, link in links.items() if "pidfd" in link]
    limit = Limited(server, resource.RLIMIT_NOFILE, min(pidfds[-2:]))
    kill_a_worker_meanwhile(server, log, limit, "pidfd_open: Too many open files")


REFUSED_LATE = """
import errno, time

real = os.pidfd_open

def pidfd_open(pid, flags=0):
    if os.path.exists("{folder}/refuse"):
        os.unlink("{folder}/refuse")
        deadline = time.monotonic() + {look}
        while not sleeps(pid):  # the child waits for its pidfd, or it works and sleeps then
            assert time.monotonic() < deadline
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return real(pid, flags)

os.pidfd_open = pidfd_open

def sleeps(pid):
    with open(f"/proc/{{pid}}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "S"

def note(event):
    with open("{folder}/noted", "a") as file:
        file.write(f"{{event}} {{os.getpid()}}\\n")

@server.on("worker_start")
def worker_start(server, worker_id):
    note(f"worker_start {{worker_id}}")

@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.task(fd)

@server.on("task")
def task(server, task_id, src_worker_id, fd):
    note("task")
    server.send(fd, b"done")
"""


@pytest.mark.parametrize("slot", [0, 1], ids=["worker", "task worker"])
def test_f5_a_process_without_a_pidfd_has_done_nothing(small, tmp_path, slot):
    """F5, P1 of fork.py: EMFILE of pidfd_open(2), while the manager does not get the CPU."""
    log = tmp_path / "log"
    program = REFUSED_LATE.format(folder=tmp_path, look=LOOK)
    server = small(program, f"task_worker_num=1, log_file={str(log)!r}")
    started = f"worker_start {slot} "
    old = int((tmp_path / "noted").read_text().partition(started)[2].split()[0])
    (tmp_path / "refuse").touch()
    os.kill(old, signal.SIGKILL)
    server.wait_for(lambda: (tmp_path / "noted").read_text().count(started) == 2)
    with server.connect() as client:
        client.sendall(b"go")
        assert client.recv(100) == b"done"
    assert not (tmp_path / "refuse").exists()
    assert log.read_text().count("pidfd_open") == 1
    lines = (tmp_path / "noted").read_text().splitlines()
    assert sum(line.startswith(started) for line in lines) == 2, "one of the refused process"
    assert sum(line.startswith("task") for line in lines) == 1


def test_f5_poll_is_refused(small, tmp_path):
    """F5: a limit of descriptors below what the manager polls (EINVAL): it serves, and it ends."""
    log = tmp_path / "log"
    server = small(WHO, f"worker_num=2, log_file={str(log)!r}")
    with Limited(server, resource.RLIMIT_NOFILE, 2):
        killed = min(server.children())
        os.kill(killed, signal.SIGKILL)
        wait_while_it_lives(server, lambda: "poll failed" in log.read_text())
        wait_while_it_lives(server, lambda: killed not in server.children())
        server.end()


REPORTER = """
import logging, threading

def report(record):
    if record.levelno >= logging.WARNING and os.getpid() == manager:
        {does}

class Reporter(logging.Handler):
    def emit(self, record):
        report(record)

def factory(*args, **kwargs):
    record = logging.LogRecord(*args, **kwargs)
    report(record)
    return record

manager = os.getpid()
logging.basicConfig()
{where}
"""
ITS = "logging.getLogger('ipckit.server')"


@pytest.mark.parametrize(
    "does",
    [
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "raise ValueError('of the program')",
        "raise SystemExit(3)",
    ],
    ids=["thread", "raises", "exits"],
)
@pytest.mark.parametrize(
    "where",
    [
        f"{ITS}.addHandler(Reporter())",
        f"{ITS}.addFilter(lambda record: report(record) is None)",
        "logging.setLogRecordFactory(factory)",
    ],
    ids=["handler", "filter", "factory"],
)
def test_f4_a_log_handler_of_the_program(small, does, where):
    """S40, F4: it begins a thread, as error reporters do, or it raises."""
    server = small(REPORTER.format(does=does, where=where) + WHO, "worker_num=2")
    for _ in range(2):
        before = server.children()
        os.kill(min(before), signal.SIGKILL)
        wait_while_it_lives(server, lambda before=before: len(server.children() - before) == 1)
        assert pid_of_a_worker(server) in server.children()
    log = server.end()
    assert ("threads run in the manager" in log) == ("Thread" in does)


def test_f4_a_thread_begun_in_start_is_refused():
    """F4: it is known before anybody relies on the server."""
    code = """
    import threading, ipckit
    server = ipckit.Server("127.0.0.1", 0, worker_num=2)
    server.on("receive", print)

    @server.on("start")
    def start(server):
        threading.Thread(target=threading.Event().wait, name="mine", daemon=True).start()

    try:
        server.start()
    except ipckit.MisuseError as exc:
        print(exc)
        raise SystemExit(3)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    assert done.returncode == 3, done
    assert "began threads in the manager (mine)" in done.stdout
    assert "worker_start" in done.stdout


@pytest.mark.parametrize("error", ["SystemExit(7)", "KeyboardInterrupt", "ValueError('as asked')"])
def test_a_manager_event_that_raises_is_logged(small, error):
    """M4, S10: sys.exit() in `worker_error` ends nothing."""
    server = small(
        WHO + f"\nserver.on('worker_error', lambda *args: (_ for _ in ()).throw({error}))"
    )
    before = server.children()
    os.kill(min(before), signal.SIGKILL)
    server.wait_for(lambda: server.children() and not server.children() & before)
    assert pid_of_a_worker(server) in server.children()
    assert "worker_error raised" in server.end()


@pytest.mark.needs_root
def test_f25_as_pid_1_it_reaps_orphans(tmp_path):
    """F25: a helper whose parent ended is the manager's, in a pid namespace of its own."""
    code = """
    import os, subprocess, ipckit
    server = ipckit.Server("127.0.0.1", 0, worker_num=1, runtime_dir={run!r})
    server.on("receive", print)

    @server.on("worker_start")
    def start(server, worker_id):
        subprocess.run(["/bin/sh", "-c", "exec 3<>{fifo} && (cat {fifo} >/dev/null) 3<&- &"])

    server.on("start", lambda server: print("up", flush=True))
    server.start()
    """
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = textwrap.dedent(code).format(run=str(tmp_path / "run"), fifo=fifo)
    outer = subprocess.Popen(
        ["unshare", "-p", "-f", "--mount-proc", sys.executable, "-c", code],
        stdout=subprocess.PIPE,
    )
    try:
        assert outer.stdout.readline() == b"up\n"
        (manager,) = children_of(outer)
        listed = Path(f"/proc/{manager}/task/{manager}/children")

        def names() -> list[str]:
            found = []
            for pid in listed.read_text().split():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                    found.append(Path(f"/proc/{pid}/comm").read_text().strip())
            return found

        wait_for(lambda: "cat" in names())
        # Its writers are gone with this one, and it ends.
        os.close(os.open(fifo, os.O_WRONLY))
        wait_for(lambda: "cat" not in names())
        os.kill(manager, signal.SIGTERM)
        assert outer.wait(LOOK) == 0
    finally:
        outer.kill()
        outer.wait()
        outer.stdout.close()


def test_no_descriptor_for_a_client_of_the_control_socket(small, tmp_path):
    """S40: it waits, the loop does not spin, and it is answered when there is one again."""
    log, control = tmp_path / "log", tmp_path / "control"
    server = small(WHO, f"log_file={str(log)!r}, control_path={str(control)!r}")
    pid = server.process.pid
    with (
        Limited(server, resource.RLIMIT_NOFILE, len(open_descriptors(pid))),
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.settimeout(LOOK)
        client.connect(str(control))
        client.sendall(b'{"command": "status"}\n')
        server.wait_for(lambda: "the control socket failed" in log.read_text())
        assert log.read_text().count("the control socket failed") < 10
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (before[1], before[1]))
        assert json.loads(client.recv(100_000))["pid"] == pid


LETTERS = """
@server.on("receive")
def receive(server, fd, reactor_id, data):
    if data == b"pid":
        server.send(fd, str(os.getpid()).encode())
    else:
        server.task("bad")

@server.on("task")
def task(server, task_id, src_worker_id, data):
    raise ValueError(data)
"""


def deaths(server: Small) -> float:
    """Kill five workers, one after the other; return the seconds until all are noticed."""
    began = time.monotonic()
    for _ in range(5):
        before = pid_of_a_worker(server)
        os.kill(before, signal.SIGKILL)
        server.wait_for(lambda: before not in server.children())
    return time.monotonic() - began


def test_another_program_holds_the_dead_letters(small, tmp_path):
    """S40: its lock holds up a letter, and neither a worker's successor nor the other letters."""
    path, log = tmp_path / "letters", tmp_path / "log"
    server = small(
        LETTERS,
        f"task_worker_num=1, task_max_attempts=1, dead_letter_path={str(path)!r}, "
        f"log_file={str(log)!r}",
    )
    base = sqlite3.connect(path, isolation_level=None)
    try:
        base.execute("begin exclusive")
        with server.connect() as client:
            client.sendall(b"task")
            server.wait_for(lambda: "database is locked" in log.read_text())
        held = deaths(server)
        base.execute("rollback")
        assert held < deaths(server) + 12, "five waits of five seconds"
        count = "select count(*) from letters where error like '%bad%'"
        server.wait_for(lambda: base.execute(count).fetchone()[0] == 1)
    finally:
        base.close()

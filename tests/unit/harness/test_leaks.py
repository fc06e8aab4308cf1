"""The leak check of the suites: it finds each kind of leak, and nothing that others make beside."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import LOOK, RUN
from leaks import children, own_namespaces, state
from serving import wait_for

from ipckit import Int, PosixQueue, SysvQueue, Table

CONFTEST = Path(__file__).parents[2] / "conftest.py"
PYTEST = [sys.executable, *"-m pytest -q -p no:cacheprovider --color=no".split()]
pytestmark = pytest.mark.needs_namespaces

LEAKS = {
    "System V queue": ("from ipckit import SysvQueue; SysvQueue.create()", "System V msg "),
    "System V segment": ("libc.shmget(0, 4096, 0o600)", "System V shm "),
    "System V semaphore": ("libc.semget(0, 1, 0o600)", "System V sem "),
    "POSIX queue": ("from ipckit import PosixQueue; PosixQueue.create('/left', max_message_size=64)", "/dev/mqueue/left"),
    "shared memory": ("open('/dev/shm/left', 'w').close()", "/dev/shm/left"),
    # It reads to the end of a pipe, which comes with the end of the run.
    "child": ("sys.kept = subprocess.Popen(['cat'], stdin=subprocess.PIPE)", "child "),
    "zombie": ("os.fork() or os._exit(0)", "child "),
    "by a child": (
        "subprocess.run([sys.executable, '-c', 'import ipckit; ipckit.SysvQueue.create()'])",
        "System V msg ",
    ),
}  # fmt: skip

HEAD = """
import ctypes, os, subprocess, sys, warnings
warnings.simplefilter("ignore")
libc = ctypes.CDLL(None)
"""


def run(
    folder: Path, calls: list[str], settles: float, *options: str, pass_fds: tuple[int, ...] = ()
) -> subprocess.Popen:
    """pytest in a process of its own, with the conftest of the suites and a test for each call."""
    source = CONFTEST.read_text()
    assert "SETTLES = LOOK" in source
    (folder / "conftest.py").write_text(source.replace("SETTLES = LOOK", f"SETTLES = {settles}"))
    tests = (f"def test_{number}():\n    {call}\n" for number, call in enumerate(calls))
    (folder / "test_one.py").write_text(HEAD + "".join(tests))
    return subprocess.Popen(
        [*PYTEST, *options, folder],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CONFTEST.parent), "COLUMNS": "200"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=pass_fds,
        text=True,
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The error of each test with a leak, by the number of the test."""
    ran = run(tmp_path_factory.mktemp("leaks"), [call for call, _ in LEAKS.values()], 0.2)
    out, _ = ran.communicate(timeout=RUN)
    assert ran.returncode == 1, out
    return dict(re.findall(r"^ERROR .*::test_(\d+) - (.*)$", out, re.MULTILINE))


@pytest.mark.parametrize("kind", LEAKS)
def test_a_leak_is_found(kind, report):
    assert f"left behind: {LEAKS[kind][1]}" in report[str([*LEAKS].index(kind))]


def test_a_test_that_leaves_nothing_passes(tmp_path):
    call = "open('/dev/shm/gone', 'w').close(); os.unlink('/dev/shm/gone')"
    ran = run(tmp_path, [call], LOOK)
    out, _ = ran.communicate(timeout=RUN)
    assert ran.returncode == 0, out


def test_what_another_program_makes_beside_is_no_leak(tmp_path):
    """F33: while the test runs, others make an object of each kind, and keep it."""
    began, begins = os.pipe()
    goes_on, go_on = os.pipe()
    call = f"os.write({begins}, b'.'); os.read({goes_on}, 1)"
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, began)
        stack.callback(os.close, go_on)
        running = stack.enter_context(run(tmp_path, [call], LOOK, pass_fds=(begins, goes_on)))
        stack.callback(running.kill)
        os.close(begins)
        os.close(goes_on)
        assert os.read(began, 1) == b".", "it ended before its test was under way"
        name = f"beside.{os.getpid()}"
        for queue in (SysvQueue.create(), PosixQueue.create(f"/{name}", max_message_size=64)):
            stack.callback(queue.close)
            stack.callback(queue.remove)
        table = stack.enter_context(contextlib.closing(Table(8, columns={"n": Int()}, name=name)))
        stack.callback(table.remove)
        os.write(go_on, b".")
        out, _ = running.communicate(timeout=RUN)
    assert running.returncode == 0, out


def test_two_workers_of_one_run_see_nothing_of_each_other(tmp_path):
    """Each has a queue of one name while the other has it too."""
    wrapper = f"{sys.executable} {CONFTEST.parent / 'leaks.py'}"
    call = f"""import time; from pathlib import Path; from ipckit import PosixQueue
    assert os.environ["IPCKIT_TEST_NAMESPACES"] == str(os.getpid())  # before its first thread
    queue = PosixQueue.create("/both", max_message_size=64)
    Path({str(tmp_path)!r}, f"has-it-{{os.getpid()}}").touch()
    end = time.monotonic() + {LOOK}
    while len([*Path({str(tmp_path)!r}).glob("has-it-*")]) < 2:
        assert time.monotonic() < end
    queue.remove(); queue.close()"""
    ran = run(tmp_path, [call], LOOK, "--dist=each", f"--tx=2*popen//python={wrapper}")
    out, _ = ran.communicate(timeout=RUN)
    assert ran.returncode == 0 and "2 passed" in out, out


def test_two_runs_see_nothing_of_each_other():
    """F33: a queue of one name and a file of one name in each of two processes, at one time."""
    PosixQueue.create("/both", max_message_size=64).close()
    Path("/dev/shm/both").touch()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.write(writing, own_namespaces().encode() or b"-")
            os.write(writing, repr((os.listdir("/dev/shm"), os.listdir("/dev/mqueue"))).encode())
            PosixQueue.create("/both", max_message_size=64).close()
        os._exit(0)
    os.close(writing)
    with open(reading) as told:
        assert told.read() == "-([], [])"
    os.waitpid(pid, 0)
    PosixQueue.open("/both").remove()
    os.unlink("/dev/shm/both")


def test_pid_1_does_not_count_the_zombies_that_it_was_given():
    """A run that is PID 1 of its namespace, as in a container, is given all orphans."""
    program = """
import os, signal, time
from leaks import children
if (one := os.fork()) == 0:
    if (orphan := os.fork()) == 0:
        os._exit(0)
    os._exit(0)
os.waitpid(one, 0)
living = os.fork() or signal.pause()
until = time.monotonic() + 100
while children() != {living}:
    assert time.monotonic() < until, children()
os.kill(living, 9)
"""
    ran = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(CONFTEST.parent)},
        timeout=RUN,
        check=False,
    )
    assert ran.returncode == 0


def test_the_state_of_a_process_is_told():
    child = subprocess.Popen(["sleep", "1000"])
    assert child.pid in children()
    wait_for(lambda: state(child.pid) == "S")
    child.kill()
    wait_for(lambda: state(child.pid) == "Z")
    child.wait()
    assert state(child.pid) == ""

"""P1: a child waits for its parent's pidfd; whatever happens to the wait, there is no second parent."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest
from deadlines import LOOK
from leaks import state
from serving import wait_for

PROGRAM = """
import os
from ipckit.server.system import fork

opened = os.pidfd_open
waits, told = os.pipe()

def slow(pid, flags=0):
    os.read(waits, 1)  # the child is there and its wait fails
    return opened(pid, flags)

def raises(*_):
    os.write(told, b"x")
    raise {error}

os.pidfd_open = slow
fork.{what} = raises
parent = os.getpid()
pid, pidfd = fork.spawn(lambda: os._exit(7))
print(os.getpid() == parent, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.parametrize(
    ("what", "error", "code"),
    [
        ("time.sleep", "OSError(22, 'Invalid argument')", 7),
        ("time.sleep", "ValueError('of somebody')", 1),
        ("os.getppid", "SystemExit(5)", 1),
        ("_wait_for_go", "KeyboardInterrupt", 1),
    ],
)
def test_a_wait_that_fails_makes_no_second_parent(what, error, code):
    program = textwrap.dedent(PROGRAM).format(what=what, error=error)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LOOK, check=False
    )
    assert (done.stdout, done.stderr) == (f"True {code}\n", "")


def test_a_child_that_waits_ends_with_its_parent():
    """kill -9 of the parent between its fork and its pidfd."""
    program = """
import os, signal
from ipckit.server.system import fork

def dies(pid, flags=0):
    print(pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

os.pidfd_open = dies
fork.spawn(lambda: print("the child went on", flush=True))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        timeout=LOOK,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    child, rest = done.stdout.split("\n")
    assert rest == ""
    wait_for(lambda: state(int(child)) in ("", "Z"))

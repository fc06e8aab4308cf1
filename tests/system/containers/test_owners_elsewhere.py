"""A thread that waits does not take a living thread's lock, whatever /proc says to it.

A waiter asks /proc after three seconds whether the owner is there. The start time of a process has the
offset of the reader's time namespace there (time_namespaces(7)). A /proc that was mounted for an outer
pid namespace shows the processes of that one: `unshare --pid --fork` without `--mount-proc`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator

import pytest
from deadlines import LOOK

from ipckit import Int, Lock, Table, WaitTimeout

NEWTIME, NEWPID = 0x80, 0x20000000  # sched.h
IMPOSSIBLE = 77
MOST_FORKS = 5_000
ASKED = 5.0
"""Seconds after which a waiter has asked /proc."""

pytestmark = [
    pytest.mark.needs_namespaces,
    pytest.mark.needs_root,
    pytest.mark.skipif(not os.path.exists("/proc/self/ns/time"), reason="before Linux 5.6"),
]


def run_in(namespace: int, body: Callable[[], None]) -> None:
    """Run `body` in a child that lives in a new namespace."""
    code = _run_in(namespace, body)
    if code == IMPOSSIBLE:
        pytest.skip("this machine does not let us make the namespace")
    assert code == 0


def _run_in(namespace: int, body: Callable[[], None]) -> int:
    outer = os.fork()
    if outer == 0:
        with ends_here():
            if ctypes.CDLL(None, use_errno=True).unshare(namespace) != 0:
                raise OSError(ctypes.get_errno(), "unshare")
            if namespace == NEWTIME:
                try:
                    with open("/proc/self/timens_offsets", "w") as offsets:
                        offsets.write("boottime 100000 0\n")
                except PermissionError:
                    os._exit(IMPOSSIBLE)  # a container without CAP_SYS_TIME
            inner = os.fork()  # the first process of the namespace
            if inner == 0:
                with ends_here():
                    body()
                    os._exit(0)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]))
    return os.waitstatus_to_exitcode(os.waitpid(outer, 0)[1])


@contextlib.contextmanager
def ends_here() -> Iterator[None]:
    """Whatever is raised, this process ends."""
    try:
        yield
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(1)


def test_a_lock_of_another_time_namespace():
    lock = Lock()
    lock.acquire()

    def wait() -> None:
        assert not lock.acquire(timeout=ASKED)

    run_in(NEWTIME, wait)
    assert lock.locked()
    lock.release()


def test_a_row_of_another_time_namespace():
    with Table(8, columns={"count": Int(8)}) as table:
        with table.lock("row") as row:

            def wait() -> None:
                with pytest.raises(WaitTimeout), table.lock("row", timeout=ASKED):
                    pass

            run_in(NEWTIME, wait)
            row["count"] += 1
        assert table.get("row") == {"count": 1}


def test_a_proc_of_an_outer_pid_namespace():
    """The holder has a number that another process has there."""
    outside = os.getpid()

    def wait() -> None:
        lock = Lock()
        held, tell = os.pipe()
        choices, choose = os.pipe()

        def hold() -> None:
            if os.read(choices, 1) == b"x":
                lock.acquire()
                os.write(tell, b"x")
                signal.pause()

        def start() -> int:
            holder = os.fork()
            if holder == 0:
                with ends_here():
                    hold()
            return holder

        with contextlib.suppress(OSError), open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(outside - 1))  # else by forks, up to the next number that is there
        for _ in range(MOST_FORKS):
            holder = start()
            if os.path.exists(f"/proc/{holder}"):
                break
            os.write(choose, b"-")
            os.waitpid(holder, 0)
        else:
            os._exit(IMPOSSIBLE)
        os.write(choose, b"x")
        assert os.read(held, 1) == b"x"
        assert not lock.acquire(timeout=ASKED)
        os.kill(holder, signal.SIGKILL)
        assert lock.acquire(timeout=LOOK) and lock.recovered
        os.waitpid(holder, 0)

    run_in(NEWPID, wait)

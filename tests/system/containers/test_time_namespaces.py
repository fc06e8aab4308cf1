"""A thread that waits in another time namespace does not take a living thread's lock.

The start time of a process in /proc has the offset of the reader's namespace (time_namespaces(7)), so
a process of another one seems to be another process with the same number.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import traceback
from collections.abc import Callable, Iterator

import pytest

from ipckit import Int, Lock, Table, WaitTimeout

NEWTIME = 0x80  # sched.h
ASKED = 5.0
"""Seconds after which a waiter has asked /proc: it does after three."""

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(not os.path.exists("/proc/self/ns/time"), reason="before Linux 5.6"),
]


def run_there(body: Callable[[], None]) -> int:
    """Run `body` in a child that lives in a time namespace of its own; 0: it returned."""
    outer = os.fork()
    if outer == 0:
        with ends_here():
            if ctypes.CDLL(None, use_errno=True).unshare(NEWTIME) != 0:
                raise OSError(ctypes.get_errno(), "unshare")
            with open("/proc/self/timens_offsets", "w") as offsets:
                offsets.write("boottime 100000 0\n")
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


def test_a_lock_stays_with_its_owner():
    lock = Lock()
    lock.acquire()

    def wait() -> None:
        assert not lock.acquire(timeout=ASKED)

    assert run_there(wait) == 0
    assert lock.locked()
    lock.release()


def test_a_row_stays_with_its_owner():
    with Table(8, columns={"count": Int(8)}) as table:
        with table.lock("row") as row:

            def wait() -> None:
                with pytest.raises(WaitTimeout), table.lock("row", timeout=ASKED):
                    pass

            assert run_there(wait) == 0
            row["count"] += 1
        assert table.get("row") == {"count": 1}

"""A process that changed its user after it had opened a segment, which belongs to the user before.

It may not open the file again, so its threads join and leave under a lock of the process (R1 in
ipckit/_core/locks/slots.c). A server with the setting `user` has such workers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterator

import pytest
from deadlines import LOOK
from serving import wait_for

from ipckit import Int, Table
from ipckit.queue import ObjectQueue, SharedQueue

NOBODY = 65534
NAME = f"changed-user-{os.getpid()}"
PROCESSES, THREADS, ROUNDS = 6, 3, 20

pytestmark = pytest.mark.needs_root


def drop_rights() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def fork(body: Callable[[], None]) -> int:
    """Run it in a child, whose exit code is 0 when it returned."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    return pid


def is_mapped() -> bool:
    with open("/proc/self/maps") as maps:
        return NAME in maps.read()


def code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def table() -> Iterator[Table]:
    with Table(8, columns={"count": Int(8)}, name=NAME) as made:
        try:
            yield made
        finally:
            made.remove()


@pytest.fixture
def queue() -> Iterator[SharedQueue]:
    with SharedQueue.create(NAME, max_messages=16, max_bytes=1 << 16) as made:
        try:
            yield made
        finally:
            made.remove()


def test_a_table_and_a_queue_go_on(table, queue):
    """Before the change it has joined neither, and the file is closed to it afterwards."""

    def work() -> None:
        drop_rights()
        with pytest.raises(PermissionError):
            Table.open(NAME)
        table.incr("row", "count")
        assert queue.receive(timeout=LOOK).body == b"to nobody"
        queue.send(b"from nobody")

    queue.send(b"to nobody")
    assert code_of(fork(work)) == 0
    assert table.get("row") == {"count": 1}
    assert queue.receive(timeout=LOOK).body == b"from nobody"
    assert table.verify() == queue.verify() == []


def test_a_thread_that_joined_before_the_change_leaves_after_it(table):
    """Its slot is given back, not left to the kernel: its mapping would stay."""

    def work() -> None:
        joined, changed = threading.Event(), threading.Event()

        def thread() -> None:
            table.incr("row", "count")
            joined.set()
            assert changed.wait(LOOK)

        other = threading.Thread(target=thread)
        other.start()
        assert joined.wait(LOOK)
        drop_rights()
        changed.set()
        other.join(LOOK)
        table.close()
        wait_for(lambda: not is_mapped())  # join() may return before the thread has ended

    assert code_of(fork(work)) == 0


@pytest.mark.parametrize("command", [fcntl.F_OFD_SETLK, fcntl.F_SETLK], ids=["file", "process"])
def test_a_join_waits_for_that_of_another_process(table, command):
    """Whether the other one locks a description of its own, or has changed its user as well."""
    done, tell = os.pipe()
    steps, step = os.pipe()

    def work() -> None:
        drop_rights()
        assert os.read(steps, 1) == b"x"
        table.incr("row", "count")
        os.write(tell, b"x")

    def told() -> bool:
        return bool(select.select([done], [], [], 0)[0])

    with contextlib.ExitStack() as ends:
        for fd in (done, tell, steps, step):
            ends.callback(os.close, fd)
        pid = fork(work)  # before the lock: a child would have its description, too
        with open(f"/dev/shm/ipckit.{NAME}", "r+b") as segment:
            fcntl.fcntl(
                segment, command, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            )
            os.write(step, b"x")
            paused = pauses_of(pid) + 5
            wait_for(lambda: told() or pauses_of(pid) >= paused)
            early = told()
        assert code_of(pid) == 0
        assert told() and not early, "it joined beside another process"


def pauses_of(pid: int) -> int:
    """How often it has given its CPU away of its own accord: it does between two tries."""
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", file.read(), re.MULTILINE)[1])


def test_many_threads_join_and_leave(table):
    """Processes of both users at one time."""

    def turns() -> None:
        for _ in range(3):
            with table.lock("row", timeout=LOOK) as row:
                row["count"] += 1

    def work() -> None:
        for _ in range(ROUNDS):
            threads = [threading.Thread(target=turns) for _ in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LOOK)

    def changed() -> None:
        drop_rights()
        work()

    pids = [fork(changed if number % 2 else work) for number in range(PROCESSES)]
    assert [code_of(pid) for pid in pids] == [0] * PROCESSES
    assert table.get("row") == {"count": PROCESSES * THREADS * ROUNDS * 3}
    assert table.verify() == []


def test_a_changed_user_that_is_killed_leaves_nothing_taken(table):
    """The kernel marks its threads."""
    held, tell = os.pipe()

    def work() -> None:
        drop_rights()
        with table.lock("row"):
            os.write(tell, b"x")
            signal.pause()

    pid = fork(work)
    with contextlib.ExitStack() as ends:
        ends.callback(os.close, held)
        ends.callback(os.close, tell)
        assert select.select([held], [], [], LOOK)[0] == [held]
        os.kill(pid, signal.SIGKILL)
        assert code_of(pid) == -signal.SIGKILL
        with table.lock("row", timeout=LOOK) as row:
            row["count"] += 1
    assert table.verify() == []


def test_objects_go_on_too():
    with ObjectQueue.create(NAME) as objects:
        try:

            def work() -> None:
                drop_rights()
                assert objects.get(timeout=LOOK) == {"to": "nobody"}
                objects.put({"from": "nobody"})
                objects.task_done()

            objects.put({"to": "nobody"})
            assert code_of(fork(work)) == 0
            assert objects.get(timeout=LOOK) == {"from": "nobody"}
            objects.task_done()
            objects.join(timeout=LOOK)
        finally:
            objects.remove()

"""What a start undoes: every step, a failing one twice; and no call fails without its name."""

from __future__ import annotations

import errno
import logging
import os

import pytest
from descriptors import no_descriptors
from family import all_well, family
from leaks import own_namespaces

from ipckit import Atomic, Int, Lock, SystemCallError, Table
from ipckit.errors import AlreadyExists, system_call
from ipckit.server.system.acquire import Undo, hold_name


def test_a_step_that_fails_once_is_done_again_and_the_others_are_done():
    """P7: a call that fails once at the end of a server leaves nothing."""
    done, failures = [], [OSError(errno.EIO, "no")]

    def twice():
        if failures:
            raise failures.pop()
        done.append("second")

    with Undo() as undo:
        undo.add("the first", done.append, "first")
        undo.add("the second", twice)
    assert done == ["second", "first"]


def test_what_stays_is_in_the_log(caplog):
    def never():
        raise OSError(errno.EIO, "no")

    done = []
    with caplog.at_level(logging.WARNING, "ipckit.server"), Undo() as undo:
        undo.add("the first", done.append, "first")
        undo.add("the file", never)
    assert done == ["first"]
    assert [record.message for record in caplog.records] == [
        "the file: it stays: [Errno 5] no",
    ]


def test_an_error_names_its_call_once():
    said = r"^\[Errno 24\] pipe: Too many open files: a pipe$"
    with (
        pytest.raises(SystemCallError, match=said),
        system_call("start", "everything"),
        system_call("pipe", "a pipe"),
    ):
        raise OSError(errno.EMFILE, "x")
    with pytest.raises(AlreadyExists), system_call("open", "a file"):
        raise FileExistsError(errno.EEXIST, "x")


@pytest.mark.parametrize(
    "make", [Lock, Atomic, lambda: Table(4, columns={"x": Int()})], ids=["Lock", "Atomic", "Table"]
)
def test_shared_memory_without_a_descriptor_is_an_error_of_ours(make):
    """P7: memfd_create(2) fails."""
    import ipckit.sync

    home, ipckit.sync._arenas._home = ipckit.sync._arenas._home, None
    try:
        with no_descriptors(), pytest.raises(SystemCallError, match="memfd_create: Too many open"):
            make()
    finally:
        ipckit.sync._arenas._home = home


@pytest.mark.needs_namespaces
@pytest.mark.parametrize("of", ["/proc/self/ns/ipc", "/dev/shm"])
def test_a_name_is_held_once_in_each_namespace(of):
    """F33: two containers of one network, or two runs of the suites, have a queue of one key."""
    name = f"ipckit-test-{os.getpid()}"

    def elsewhere():
        assert own_namespaces() == ""
        assert hold_name(name, of) is not None

    def here():
        assert hold_name(name, of) is None

    guard = hold_name(name, of)
    with guard, family() as start:
        assert all_well(start(elsewhere), start(here))


def test_a_name_is_held_where_there_is_no_proc(tmp_path):
    with hold_name(f"ipckit-test-{os.getpid()}", str(tmp_path / "none")):
        assert hold_name(f"ipckit-test-{os.getpid()}", str(tmp_path / "none")) is None

"""Descriptors that are pickled for a process that is being started: what is refused, on either side."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from multiprocessing.context import set_spawning_popen

import pytest
from deadlines import LOOK

from ipckit import sync
from ipckit._spawning import descriptor_for_child, receive_descriptor
from ipckit.channel import Channel, channel
from ipckit.errors import AccessDenied, MisuseError, SegmentCorrupt
from ipckit.sync import Atomic, Lock
from ipckit.table import Int, Table, table

ELSEWHERE = 0  # no process of ours is the sender


class Passed:
    """A descriptor as the wrapper of a start method gives it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def detach(self) -> int:
        return self.fd


class Starting:
    """What multiprocessing sets while it pickles the arguments of a process: its Popen."""

    DupFd = Passed

    def __init__(self) -> None:
        self.fds: list[int] = []

    def duplicate_for_child(self, fd: int) -> int:
        self.fds.append(fd)
        return fd


@pytest.fixture
def starting():
    popen = Starting()
    set_spawning_popen(popen)
    yield popen
    set_spawning_popen(None)


def sent(fd: int, sender: int = ELSEWHERE):
    found = os.fstat(fd)
    return Passed(fd), found.st_dev, found.st_ino, sender


def is_open(fd: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")


@pytest.mark.parametrize(
    "wrong", [None, 3, (), (3, 1, 2, 3), (Passed(3), 1, 2), (Passed(3), 1, 2, "3"), [Passed(3), 1, 2, 3]]
)  # fmt: skip
def test_what_is_no_descriptor(wrong):
    with pytest.raises(TypeError, match="is no descriptor that a process was started with"):
        receive_descriptor(wrong)


@pytest.mark.parametrize("fd", [-1, 2**40, 1 << 29, "3", None])
def test_a_descriptor_that_is_not_here(fd):
    with pytest.raises(MisuseError, match="is not in this process"):
        receive_descriptor((Passed(fd), 1, 2, ELSEWHERE))


def test_a_descriptor_that_is_another_file_is_left_alone():
    """A pickle that was kept and read elsewhere names a number that is anything there."""
    reading, writing = os.pipe()
    _, device, inode, _ = sent(reading)
    with pytest.raises(MisuseError, match="is not in this process"):
        receive_descriptor((Passed(writing), device, inode + 1, ELSEWHERE))
    assert is_open(writing)
    os.close(reading)
    os.close(writing)


def test_it_is_closed_on_exec_and_taken_once():
    fd = os.dup(0)
    os.set_inheritable(fd, True)
    assert receive_descriptor(sent(fd)) == fd
    assert not os.get_inheritable(fd)
    again = receive_descriptor(sent(fd))
    mine = receive_descriptor(sent(fd, os.getpid()))
    assert len({fd, again, mine}) == 3
    for each in (fd, again, mine):
        os.close(each)


def test_one_pickle_has_a_descriptor_once(starting):
    """multiprocessing refuses a number that comes twice."""
    one, lock = Atomic(), Lock()
    for thing in (one, lock, one):
        pickle.dumps(thing)
    assert len(starting.fds) == 1


def test_a_descriptor_that_the_program_closed_is_not_sent(starting):
    with Table(2, columns={"n": Int(8)}) as shared:
        fd = shared._descriptor()
        copy = os.dup(fd)
        os.dup2(0, fd)  # closed, and the number is another file's
        with pytest.raises(MisuseError, match="was closed by another part of the program"):
            pickle.dumps(shared)
        os.dup2(copy, fd)
        os.close(copy)
    with pytest.raises(MisuseError, match="was closed by another part of the program"):
        descriptor_for_child(1 << 29, "Channel", "")
    assert starting.fds == []


def empty_file() -> int:
    return os.memfd_create("empty")


def short_file() -> int:
    fd = os.memfd_create("short")
    os.write(fd, b"no table, and no arena")
    return fd


def pipe() -> int:
    reading, writing = os.pipe()
    os.close(writing)
    return reading


@pytest.mark.parametrize("make", [empty_file, short_file, pipe])
def test_a_table_or_an_arena_from_another_file(make):
    fd = make()
    with pytest.raises(SegmentCorrupt):
        table._received(Table, None, sent(fd))
    assert not is_open(fd)
    fd = make()
    with pytest.raises(SegmentCorrupt, match="no arena"):
        sync._received(sent(fd))
    assert not is_open(fd)


def test_an_arena_that_may_not_be_mapped_is_not_called_damaged():
    number = Atomic(1)
    fd = os.open(f"/proc/self/fd/{number._cell.home.arena.fileno()}", os.O_RDONLY)
    sync._arenas._mapped.pop(number._cell.home.file)
    with pytest.raises(AccessDenied, match="mmap: Permission denied"):
        sync._received(sent(fd))
    assert not is_open(fd)
    sync._arenas._mapped[number._cell.home.file] = number._cell.home


def test_no_address_space_for_an_arena_is_named():
    """It was a ValueError about a descriptor that the caller has never seen."""
    program = """
import resource
from ipckit import Atomic
from ipckit.errors import SystemCallError
kept = Atomic()
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
from ipckit import sync
try:
    sync._Home.made()
except SystemCallError as exc:
    text = str(exc)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
print(text)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LOOK, check=False
    )
    assert "mmap: Cannot allocate memory: shared memory for locks and numbers" in ran.stdout, ran


def test_an_end_of_a_channel_from_another_file():
    with socket.socket() as tcp:
        for fd in (empty_file(), tcp.fileno()):
            with pytest.raises(MisuseError, match="is no"):
                channel._received(Channel, sent(os.dup(fd)), 100)
    one, other = Channel.pair()
    with one, other:
        with pytest.raises(ValueError, match="max_frame=-1"):
            channel._received(Channel, sent(one.fileno()), -1)
        assert one.fileno() >= 0


def test_a_cell_that_is_none():
    number = Atomic(3)
    home, index = number._cell.home, number._cell.index
    assert sync._placed(Atomic, home, index).get() == 3
    for wrong in (-1, 1024, 2**40, "3", None):
        with pytest.raises(ValueError, match=r"must be 0\.\.1023"):
            sync._placed(Lock, home, wrong)
    with pytest.raises(TypeError, match="must be an arena"):
        sync._placed(Lock, None, index)
    for cls in (int, None, Table, sync._Home):
        with pytest.raises(TypeError, match="must be Atomic or a subclass"):
            sync._placed(cls, home, index)


def test_no_other_class_is_made():
    for rebuild in (table._received, channel._received, table._opened):
        with pytest.raises(TypeError, match="or a subclass of it"):
            rebuild(dict, *["x"] * (rebuild.__code__.co_argcount - 1))


def test_a_pickle_loads_no_multiprocessing():
    """A program that has none of it does not pay for it."""
    code = """
import pickle, sys
from ipckit import Atomic, MisuseError, Table, Int
for thing in (Atomic(), Table(2, columns={"n": Int(8)})):
    try:
        pickle.dumps(thing)
    except MisuseError:
        pass
print("multiprocessing" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LOOK, check=True
    )
    assert done.stdout == "False\n"

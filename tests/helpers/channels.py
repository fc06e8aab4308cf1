"""What the suites of channels share: a pair of ends, a child that uses one, and what is looked for."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import termios
import traceback
from time import monotonic

import pytest
import uvloop
from deadlines import LOOK
from descriptors import open_descriptors

from ipckit.channel import Channel


@pytest.fixture(scope="module", autouse=True)
def uvloop_has_run():
    """Its first loop opens two descriptors for the life of the process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


@pytest.fixture(autouse=True)
def no_descriptor_leaks():
    """C9: after each test there are as many descriptors as before."""
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@pytest.fixture
def pair():
    one, other = Channel.pair()
    with one, other:
        yield one, other


@contextlib.contextmanager
def child(run):
    """A forked process that calls `run`; it is gone afterwards, whatever happens."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            run()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def exit_code(pid: int) -> int:
    """Reap it; it must end by itself."""
    fd = os.pidfd_open(pid)
    try:
        assert select.select([fd], [], [], LOOK)[0], "the child goes on and on"
    finally:
        os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def until(condition) -> None:
    deadline = monotonic() + LOOK
    while not condition():
        assert monotonic() < deadline
        os.sched_yield()


def state_of(pid: int) -> str:
    """R, S, T ... of its first thread, as in proc(5)."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def unread(channel: Channel) -> int:
    return struct.unpack("i", fcntl.ioctl(channel.fileno(), termios.FIONREAD, b"\0" * 4))[0]


def raw(channel: Channel) -> socket.socket:
    """A second handle of its socket, for writing past it."""
    return socket.socket(fileno=os.dup(channel.fileno()))

"""Whether the manager may fork, how it does, and how a child of it ends.

Contract  `spawn()` gives a process with its pidfd, or raises and leaves none. Nothing that was
          printed before the fork is printed twice. What cannot be printed is lost, and no error.
Invariant
  P1  A child does nothing before its parent has its pidfd. So the kernel refuses a process as a
      whole, and none of its work is done by a process that is killed for want of a pidfd.
Stands on ipckit.errors, ipckit.server.system.{acquire,signals}, fork(2), pidfd_open(2).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from ipckit.errors import MisuseError, from_errno
from ipckit.server.log import limited
from ipckit.server.system.acquire import mapped
from ipckit.server.system.signals import all_blocked

__all__ = [
    "check_may_fork",
    "exit_child",
    "fill_standard_descriptors",
    "flush_output",
    "open_pidfd",
    "spawn",
    "thread_names",
]

_GO = 1
"""In the page that a child shares with its parent: the parent has its pidfd."""

_GO_SECONDS = 0.0005
"""Between two looks of the child."""


def spawn(child: Callable[[], NoReturn]) -> tuple[int, int]:
    """Fork; the child calls `child` with all signals blocked. Return its pid and its pidfd.

    Raises SystemCallError with the errno of mmap(2), fork(2) or pidfd_open(2): there is no child
    then, and there was none that ran `child`.
    """
    flush_output()
    parent = os.getpid()
    with mapped(-1, mmap.PAGESIZE) as gate:
        with all_blocked():
            try:
                pid = os.fork()
            except OSError as exc:
                raise from_errno(
                    "fork",
                    exc.errno or errno.EAGAIN,
                    "no process can be made: the limits are pids.max of the cgroup, ulimit -u, "
                    "kernel.pid_max and the memory",
                ) from None
            if pid == 0:
                try:
                    _wait_for_go(gate, parent)
                except BaseException:  # it must not go on as a second parent
                    os._exit(1)
                child()
        try:
            pidfd = open_pidfd(pid)
        except BaseException:
            os.kill(pid, signal.SIGKILL)  # it is not reaped yet, so the number is still its own
            os.waitpid(pid, 0)
            raise
        gate[0] = _GO
        return pid, pidfd


def _wait_for_go(gate: mmap.mmap, parent: int) -> None:
    """P1. In the child: return when the parent has its pidfd; end with the parent.

    Most often the parent is faster than this process.
    """
    while gate[0] != _GO:
        if os.getppid() != parent:
            os._exit(1)
        with contextlib.suppress(OSError):  # libfaketime 0.9.10 answers EINVAL
            time.sleep(_GO_SECONDS)
    gate.close()


def open_pidfd(pid: int) -> int:
    """Return a pidfd of a process that is there. Raises SystemCallError."""
    try:
        return os.pidfd_open(pid)
    except OSError as exc:
        code = exc.errno or errno.EINVAL
        full = code in (errno.EMFILE, errno.ENFILE)
        remedy = "raise the limit of descriptors (ulimit -n, fs.file-max)" if full else ""
        raise from_errno("pidfd_open", code, f"process {pid}", remedy) from None


def flush_output() -> None:
    """Write out what was printed, as far as somebody takes it."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # its descriptor was closed when Python began
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


def exit_child(code: int) -> NoReturn:
    """End this process, a child, with all that it printed, and what its log left out."""
    try:
        limited.flush()
        flush_output()
    finally:
        os._exit(code)


def fill_standard_descriptors() -> None:
    """Open /dev/null for each of the descriptors 0 to 2 that is closed.

    Else a connection gets such a number, and what C code prints as an error goes to a client.
    """
    with contextlib.suppress(OSError):
        fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        while fd <= 2:
            os.set_inheritable(fd, True)
            fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.close(fd)


def thread_names() -> list[str]:
    """Return the names of the threads of this process beside the caller's."""
    me = threading.current_thread()
    named = [thread.name for thread in threading.enumerate() if thread is not me]
    try:
        more = len(os.listdir("/proc/self/task")) - 1 - len(named)
    except OSError:  # no descriptor is left, or there is no /proc
        more = 0
    return [*named, *["not made by Python"] * more]


def check_may_fork() -> None:
    """Refuse start() where a fork of this process would not be safe: MisuseError."""
    if threading.current_thread() is not threading.main_thread():
        raise MisuseError(
            "start() belongs into the main thread, where signals are handled: call it there"
        )
    if others := thread_names():
        raise MisuseError(
            f"start() forks, and a process with threads cannot be forked safely; these run: "
            f"{', '.join(others)}. Start them in worker_start instead"
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise MisuseError("start() inside a running event loop: call it from plain code")

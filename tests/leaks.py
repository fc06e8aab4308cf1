"""What a test left behind, and namespaces of this process's own, in which all that is left is its.

Contract  `own_namespaces()` gives this process, and all that it starts, an IPC namespace, a
          /dev/shm and a /dev/mqueue that nobody else has, and as many bytes of POSIX queues as
          it wants, where it may: all processes of a user share that limit. It returns "", or why
          there can be none; then nothing has changed. Root makes the directory /dev/mqueue on a
          machine without one, and it stays there. It is called once, before there are other
          threads.
          `python leaks.py ARGUMENT...` is a python that has them before its first thread: a
          worker of pytest-xdist has threads when it reads conftest.py.
          `objects()` lists System V queues, segments and semaphores, POSIX queues and the files of
          /dev/shm, `children()` the processes that were started and not reaped.
Kernel    A System V queue does not know the process that made it, so no look at the whole machine
          can tell whose it is. unshare(2) needs CAP_SYS_ADMIN, or else a user namespace in which
          this user keeps its number; the capabilities that come with that are dropped immediately.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct
import sys
from pathlib import Path

_NEWNS, _NEWIPC, _NEWUSER = 0x20000, 0x8000000, 0x10000000  # sched.h
_PRIVATE = 0x4000 | 0x40000  # mount.h: MS_REC | MS_PRIVATE
_CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h
_MADE = "IPCKIT_TEST_NAMESPACES"
"""In the environment: the process that has namespaces of its own, as it had before its execve(2)."""

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _may(flags: int) -> bool:
    """Whether unshare(2) is allowed: tried in a child, as it cannot be undone."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _unshare(flags)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def _unshare(flags: int) -> None:
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", flags)
    if flags & _NEWUSER:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _call("mount", b"none", b"/", None, _PRIVATE, None)
    _call("mount", b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"mode=1777")
    with contextlib.suppress(OSError):  # it is there, or only root may make it
        os.mkdir("/dev/mqueue")
    if os.path.isdir("/dev/mqueue"):
        _call("mount", b"mqueue", b"/dev/mqueue", b"mqueue", 0, None)
    if flags & _NEWUSER:
        header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        _call("capset", header, bytes(24))


def own_namespaces() -> str:
    """See the head."""
    if os.environ.get(_MADE) == str(os.getpid()):
        return ""
    for flags in (_NEWIPC | _NEWNS, _NEWIPC | _NEWNS | _NEWUSER):
        if flags & _NEWUSER and os.geteuid() == 0:
            break  # a root that may not change the owner of a file is none
        if _may(flags):
            _unshare(flags)
            with contextlib.suppress(ValueError):  # only root may raise it
                resource.setrlimit(resource.RLIMIT_MSGQUEUE, (resource.RLIM_INFINITY,) * 2)
            return ""
    return "unshare(2) of the IPC namespace is not permitted"


def sysv(kind: str) -> dict[int, list[str]]:
    """Every System V object of that kind (msg, shm, sem) by its id, as proc(5) shows it."""
    path = Path(f"/proc/sysvipc/{kind}")
    rows = path.read_text().splitlines()[1:] if path.exists() else []
    return {int(row.split()[1]): row.split() for row in rows}


def sysv_queues() -> set[tuple[int, int]]:
    """Every System V queue, as (id, change time)."""
    return {(number, int(row[-1])) for number, row in sysv("msg").items()}


def shm_files() -> set[str]:
    return set(os.listdir("/dev/shm"))


def objects() -> set[str]:
    """See the head."""
    found = {f"System V {kind} {number}" for kind in ("msg", "shm", "sem") for number in sysv(kind)}
    for folder in ("/dev/shm", "/dev/mqueue"):
        if os.path.isdir(folder):
            found |= {f"{folder}/{name}" for name in os.listdir(folder)}
    return found


def state(pid: int) -> str:
    """The kernel's letter for what a process does, "" when it is gone: proc(5), stat."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children(pid: int | None = None) -> set[int]:
    """The processes that this one started and has not reaped; as PID 1, those that still run."""
    pid = pid or os.getpid()
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            found |= {int(child) for child in (task / "children").read_text().split()}
    if pid == 1:  # the orphans of others are its children as well, and nobody reaps them
        found = {child for child in found if state(child) != "Z"}
    return found


if __name__ == "__main__":
    if not own_namespaces():
        os.environ[_MADE] = str(os.getpid())
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])

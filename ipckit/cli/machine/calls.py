"""Which system calls this kernel has, and the seccomp filter of a container allows.

Contract  Each check asks in a way that changes nothing: it makes a descriptor and closes it, sets
          what is set, or gives an argument that a call which is allowed refuses with another errno.
Kernel    pidfd_open(2), memfd_create(2), eventfd(2), prctl(2), set_robust_list(2), futex_waitv(2),
          msgget(2), mq_open(3), ptrace(2).
Stands on ctypes alone: the C core may be just what is missing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Callable

from ipckit.cli.machine.check import NOTE, OK, WRONG, Check

__all__ = ["futex_waitv", "kernel_calls", "ptrace", "queues", "robust_lists"]

_ALLOW = "use a container profile (seccomp) that allows it: docker run --security-opt seccomp=FILE"
_FUTEX_WAITV = 449
_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2
_PTRACE_DETACH = 17
_SET_ROBUST_LIST = {"x86_64": 273, "aarch64": 99, "riscv64": 99, "ppc64le": 300, "s390x": 304}
"""Numbers of set_robust_list(2), which the C library does not give."""
_REFUSED = (errno.ENOSYS, errno.EPERM)
_NO_KEY = 0x1DC0FFEE
_NO_QUEUE = b"/ipckit-doctor-asks"


def kernel_calls() -> Check:
    """Return whether the calls are there that servers cannot do without."""
    missing = []
    calls: tuple[tuple[str, Callable[[], int]], ...] = (
        ("pidfd_open (Linux 5.3)", lambda: os.pidfd_open(os.getpid())),
        ("memfd_create (3.17)", lambda: os.memfd_create("ipckit.doctor")),
        ("eventfd (2.6.22)", lambda: os.eventfd(0)),
    )
    for name, call in calls:
        try:
            os.close(call())
        except OSError as why:
            missing.append(f"{name}: {why.strerror}")
    try:
        _death_signal()
    except OSError as why:
        missing.append(f"prctl, by which children end with the manager: {why.strerror}")
    if missing:
        return Check("kernel calls", WRONG, "; ".join(missing), f"use a newer kernel, or {_ALLOW}")
    return Check("kernel calls", OK, "pidfd_open, memfd_create, eventfd, prctl")


def _death_signal() -> None:
    """Set the signal of our parent's death to what it is. OSError: prctl(2) is refused."""
    libc, number = _libc(), ctypes.c_int()
    if libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(number)) or libc.prctl(_PR_SET_PDEATHSIG, number):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def robust_lists() -> Check:
    """Return whether the kernel marks the locks of the dead. A list of size 0 is never set."""
    name, number = "robust lists", _SET_ROBUST_LIST.get(platform.machine())
    if number is None:
        return Check(name, NOTE, f"not looked at on {platform.machine()}")
    code = _errno_of(lambda libc: libc.syscall(number, None, 0))
    if code in _REFUSED:
        return Check(
            name,
            WRONG,
            f"set_robust_list is refused ({os.strerror(code)}): the lock of a process that dies is "
            f"released only to one that waits 3 s in the same pid namespace, and sees /proc",
            _ALLOW,
        )
    return Check(name, OK, "the kernel releases the locks of the dead")


def futex_waitv() -> Check:
    """Return whether a thread can wait for a lock and the death of its owner in one call."""
    code = _errno_of(lambda libc: libc.syscall(_FUTEX_WAITV, None, 0, 0, None, 0))
    if code in _REFUSED:
        return Check(
            "futex_waitv",
            NOTE,
            "this kernel has none, or forbids it: a process that waits for a dead one's row lock "
            "looks every 5 ms instead",
            f"Linux 5.16 or newer has it; {_ALLOW}",
        )
    return Check("futex_waitv", OK, "there is one")


def queues() -> Check:
    """Return whether there are queues: one is opened that is not there."""
    missing = [
        f"{what}: {os.strerror(code)}"
        for what, code in (
            ("System V queues (msgget)", _errno_of(lambda libc: libc.msgget(_NO_KEY, 0))),
            ("POSIX queues (mq_open)", _errno_of(lambda libc: _mq_open(libc, _NO_QUEUE, 0))),
        )
        if code in _REFUSED
    ]
    if missing:
        step = f"use a kernel with CONFIG_SYSVIPC and CONFIG_POSIX_MQUEUE, or {_ALLOW}"
        return Check("queues", WRONG, f"there are no {'; no '.join(missing)}", step)
    return Check("queues", OK, "System V and POSIX")


def _mq_open(libc: ctypes.CDLL, name: bytes, flags: int) -> int:
    """In librt before glibc 2.34."""
    library = libc if hasattr(libc, "mq_open") else ctypes.CDLL("librt.so.1", use_errno=True)
    return int(library.mq_open(name, flags))


def ptrace() -> Check:
    """Return whether the harness can step a process: one that is not traced is detached from."""
    code = _errno_of(lambda libc: libc.ptrace(_PTRACE_DETACH, os.getpid(), None, None))
    if code in _REFUSED:
        found = f"ptrace is refused ({os.strerror(code)}): the harness has no engine = 'ptrace'"
        return Check("ptrace", NOTE, found, f"--cap-add SYS_PTRACE, or {_ALLOW}")
    return Check("ptrace", OK, "there is one")


def _errno_of(call: Callable[[ctypes.CDLL], int]) -> int:
    """Return the errno of a call that is given what cannot be done; 0: it was done."""
    ctypes.set_errno(0)
    return ctypes.get_errno() if call(_libc()) < 0 else 0


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)

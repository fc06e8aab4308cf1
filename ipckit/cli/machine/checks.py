"""What could be wrong on this machine, beside its limits: each check says what it found.

Contract  a check changes nothing, and raises nothing; one that needs what is missing is a note.
          "wrong": something will not work, and there is a next step; "note": it works, less well,
          or it is worth knowing; "ok".
Stands on ipckit._distribution, ipckit.cli.inventory, ipckit.server.tasks.spill, logind.conf(5).
"""

from __future__ import annotations

import importlib
import os
import platform
import pwd
import re
import resource
import stat
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ipckit import _distribution
from ipckit.cli.machine import calls
from ipckit.cli.machine.check import NOTE, OK, WRONG, Check
from ipckit.cli.machine.facts import Facts

if TYPE_CHECKING:
    from ipckit.cli.machine.limits import Limit

__all__ = [
    "NOTE",
    "OK",
    "WRONG",
    "Check",
    "examine",
    "of_limits",
    "proc_of",
    "removes_ipc",
    "runtime_place",
]

_SHM = "/dev/shm"  # noqa: S108  (where POSIX shared memory is)
_LOGIND = (
    "/usr/lib/systemd/logind.conf",
    "/etc/systemd/logind.conf",
    "/usr/lib/systemd/logind.conf.d",
    "/run/systemd/logind.conf.d",
    "/etc/systemd/logind.conf.d",
)
_FIRST_USER = 1000
_LOW_SHM = 16 * 2**20
_LONGEST_SOCKET = 107
_SOCKET_NAME = len("/control-4194304.sock")
_INSTEAD = {"posix_ipc", "sysv_ipc"}
"""The C core does their part where they are not installed: not every Python has wheels of them."""
_MODULES = ("ipckit._core._ipk", "ipckit._core._rows", "uvloop", "sysv_ipc", "posix_ipc", "msgspec")


def examine(facts: Facts, directories: Callable[[], Sequence[str]]) -> list[Check]:
    """Make every check; `directories` gives the runtime directories, the default one first."""
    checks: dict[str, Callable[[], Check]] = {
        "python": _python,
        "distribution": _other_distribution,
        "modules": _modules,
        "/proc": _proc,
        "kernel calls": calls.kernel_calls,
        "robust lists": calls.robust_lists,
        "futex_waitv": calls.futex_waitv,
        "queues": calls.queues,
        "ptrace": calls.ptrace,
        "named segments": _unnamed_files,
        "shared memory": lambda: _shared_memory(facts),
        "memory of the control group": lambda: _group_memory(facts),
        "file size": lambda: file_size(resource.getrlimit(resource.RLIMIT_FSIZE)[0]),
        "runtime directory": lambda: runtime_place(directories()[0]),
        "XDG_RUNTIME_DIR": _session_directory,
        "RemoveIPC": _remove_ipc,
        "orphans": _orphans,
        "leaked objects": lambda: _leftovers(directories()),
        "shared queues": _shared_queues,
    }
    return [_made(name, check) for name, check in checks.items()]


def _made(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as why:  # one that cannot be made must not hide the others
        return Check(name, NOTE, f"cannot be looked at: {type(why).__name__}: {why}")


def of_limits(compared: Callable[[], Sequence[Limit]]) -> list[Check]:
    """Return one check for each limit that is too low, or one that all are high enough.

    What `compared` raises is raised, except for ImportError: the check of modules has said that.
    """
    try:
        limits = compared()
    except ImportError as why:
        return [Check("limits", NOTE, f"cannot be compared: {why}", "mend the modules first")]
    short = [
        Check(
            limit.name,
            WRONG,
            f"{limit.value:,.0f} {limit.unit}, {limit.needed:,.0f} are needed",
            limit.advice,
        )
        for limit in limits
        if limit.short
    ]
    return short or [Check("limits", OK, f"{len(limits)} limits are high enough")]


def _python() -> Check:
    version = platform.python_version()
    if sys.platform != "linux" or sys.version_info < (3, 11):
        step = "use CPython 3.11 or newer on Linux"
        return Check("python", WRONG, f"{version} on {sys.platform}", step)
    return Check("python", OK, f"{version}, Linux {platform.release()}")


def _other_distribution() -> Check:
    clash = _distribution.clash()
    if clash:
        found, _, step = clash.partition(": ")
        return Check("distribution", WRONG, found, step)
    return Check("distribution", OK, f"the package ipckit is {_distribution.OURS}'s alone")


def _modules() -> Check:
    missing, there, instead = [], [], []
    for name in _MODULES:
        try:
            importlib.import_module(name)
        except ImportError as why:
            if name in _INSTEAD and why.name == name:
                instead.append(name)
            else:
                missing.append(f"{name} ({why})")
        else:
            there.append(name)
    if missing:
        step = f"pip install --force-reinstall {_distribution.OURS}"
        return Check("modules", WRONG, f"cannot be imported: {', '.join(missing)}", step)
    core = f"; the C core does the part of {' and '.join(instead)}" if instead else ""
    return Check("modules", OK, f"{', '.join(there)}{core}")


def _proc() -> Check:
    if os.path.isdir("/proc/self/fd"):
        return proc_of(_text("/proc/self/status"))
    return Check(
        "/proc",
        WRONG,
        "it is not mounted: tables, locks and servers open files by it, and limits are not known",
        "mount -t proc proc /proc",
    )


def proc_of(status: str) -> Check:
    """Return whether /proc shows the processes of our own pid namespace. Pure.

    `status`: /proc/self/status, which has our number in its namespace and in each within that.
    """
    numbers = re.search(r"^NSpid:\s*(.*)$", status, re.MULTILINE)
    if numbers and len(numbers[1].split()) > 1:
        return Check(
            "/proc",
            NOTE,
            "it shows the processes of an outer pid namespace: `ls`, `top` and `status` say what "
            "those do, and a lock whose owner the kernel did not mark as dead stays taken",
            "mount -t proc proc /proc (unshare --mount-proc)",
        )
    return Check("/proc", OK, "mounted")


def _unnamed_files() -> Check:
    try:
        os.close(os.open(_SHM, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as why:
        return Check(
            "named segments",
            WRONG,
            f"no file can be made in {_SHM}: {why.strerror}",
            f"mount it: mount -t tmpfs -o mode=1777 tmpfs {_SHM}",
        )
    return Check("named segments", OK, f"files can be made in {_SHM}")


def _shared_memory(facts: Facts) -> Check:
    if facts.shm_free is None or facts.shm_size is None:
        return Check("shared memory", WRONG, f"there is no {_SHM}", f"mount a tmpfs at {_SHM}")
    unit, word = (2**20, "MiB") if facts.shm_size >= 2**20 else (2**10, "KiB")
    found = f"{facts.shm_free / unit:,.0f} of {facts.shm_size / unit:,.0f} {word} are free"
    if facts.shm_free < _LOW_SHM:
        step = "free some (ipckit ls), or make it larger (docker run --shm-size): ipckit limits"
        return Check("shared memory", WRONG, f"{_SHM} is full: {found}", step)
    return Check("shared memory", OK, found)


def _group_memory(facts: Facts) -> Check:
    if not os.path.exists("/proc/self/cgroup"):
        return Check("memory of the control group", NOTE, "not known: /proc does not say the group")
    return group_memory(facts.cgroup_memory, facts.shm_free)


def group_memory(left: float | None, shm_free: int | None) -> Check:
    """Return whether the control group lets a program have the shared memory that there is. Pure.

    `left`: bytes under its limit; None, infinity: no limit.
    """
    name = "memory of the control group"
    if left is None or left == float("inf"):
        return Check(name, OK, "no limit")
    found = f"{left / 2**20:,.0f} MiB are left under its limit"
    step = "raise memory.max (systemd: MemoryMax=; docker run --memory)"
    if left < _LOW_SHM:
        return Check(name, WRONG, f"{found}; a process over it is killed by SIGKILL", step)
    if shm_free is not None and left < shm_free:
        return Check(
            name,
            NOTE,
            f"{found}, less than is free in {_SHM}: tables, ledgers and queues count, and a "
            f"process over it is killed by SIGKILL",
            step,
        )
    return Check(name, OK, found)


def file_size(limit: int) -> Check:
    """Return whether files may be as large as tables and ledgers are. Pure."""
    name = "file size"
    if limit == resource.RLIM_INFINITY:
        return Check(name, OK, "no limit")
    return Check(
        name,
        WRONG if limit < _LOW_SHM else NOTE,
        f"at most {limit:,} bytes: so large may a table, a task ledger, a log or a body in a file "
        f"be (EFBIG)",
        "ulimit -f unlimited, LimitFSIZE=infinity for systemd",
    )


def runtime_place(path: str) -> Check:
    """Return whether servers can have their run records and sockets at this path."""
    name = "runtime directory"
    other = "or choose another with runtime_dir"
    if len(os.fsencode(path)) + _SOCKET_NAME > _LONGEST_SOCKET:
        return Check(
            name,
            WRONG,
            f"{path} is too long: a control socket's path has at most {_LONGEST_SOCKET} bytes",
            "choose another with runtime_dir, or set control_path",
        )
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        parent = os.path.dirname(path)
        while not os.path.exists(parent):
            parent = os.path.dirname(parent)
        if os.access(parent, os.W_OK | os.X_OK):
            return Check(name, OK, f"{path} is made by the first server")
        step = f"make it, {other}, or docker run --tmpfs {parent}"
        return Check(name, WRONG, f"{path} cannot be made in {parent}", step)
    except OSError as why:
        return Check(name, WRONG, f"{path}: {why.strerror}", f"mend it, {other}")
    if not stat.S_ISDIR(found.st_mode):
        return Check(name, WRONG, f"{path} is no directory", f"remove it, {other}")
    if found.st_uid != os.geteuid():
        step = f"have it removed, {other}"
        return Check(name, WRONG, f"{path} belongs to user {found.st_uid}", step)
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        step = f"chmod 700 {path}, {other}"
        return Check(name, WRONG, f"{path} is open to others: mode {mode:#o}", step)
    try:
        os.close(os.open(path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as why:
        text = f"no file can be made in {path}: {why.strerror}"
        return Check(name, WRONG, text, f"make room, {other} on a file system of this machine")
    return Check(name, OK, f"{path}, mode 0700, ours")


def _session_directory() -> Check:
    name, session = "XDG_RUNTIME_DIR", os.environ.get("XDG_RUNTIME_DIR")
    if session and not os.path.isdir(session):
        return Check(
            name,
            NOTE,
            f"it is {session}, which is no directory: servers use another place",
            "unset it, or log in so that it is made",
        )
    return Check(name, OK, session or "not set")


def removes_ipc(texts: Sequence[str]) -> bool:
    """Whether logind removes a user's objects at logout, by these files, in order. Pure."""
    answer = True  # systemd's default
    for text in texts:
        for value in re.findall(r"^\s*RemoveIPC\s*=\s*(\w+)", text, re.MULTILINE):
            answer = value.lower() in ("yes", "true", "on", "1")
    return answer


def _remove_ipc() -> Check:
    name, uid = "RemoveIPC", os.geteuid()
    if not os.path.isdir("/run/systemd/system"):
        return Check(name, OK, "systemd does not run here")
    if uid < _FIRST_USER:
        return Check(name, OK, "system users are spared")
    if not removes_ipc([_text(path) for path in _conf_files()]):
        return Check(name, OK, "logind leaves our objects alone")
    user = _user_name(uid)
    if os.path.exists(f"/var/lib/systemd/linger/{user}"):
        return Check(name, OK, f"user {user} lingers")
    return Check(
        name,
        WRONG,
        f"at the last logout of user {user}, logind removes its queues and shared memory, those of "
        f"running servers too",
        f"run servers as a system user, or set RemoveIPC=no in {_LOGIND[1]}, or loginctl "
        f"enable-linger {user}",
    )


def _conf_files() -> list[str]:
    files = []
    for path in _LOGIND:
        if os.path.isdir(path):
            files += [os.path.join(path, name) for name in sorted(os.listdir(path))]
        else:
            files.append(path)
    return files


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _orphans() -> Check:
    """A PID 1 that is no init: what its children leave behind are zombies, for ever."""
    name = "orphans"
    if not os.path.isdir("/proc/self/fd"):
        return Check(name, NOTE, "not known without /proc")
    zombies = 0
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        state, parent, *_ = [*_text(f"/proc/{pid}/stat").rpartition(")")[2].split(), "", ""]
        zombies += (state, parent) == ("Z", "1")
    if zombies:
        first = _text("/proc/1/comm").strip()
        return Check(
            name,
            NOTE,
            f"{zombies} processes have ended, and PID 1 ({first}) does not reap them",
            "have an init as PID 1: docker run --init",
        )
    return Check(name, OK, "PID 1 reaps them")


def _leftovers(directories: Sequence[str]) -> Check:
    if not os.path.isdir("/proc/self/fd"):
        return Check("leaked objects", NOTE, "not known without /proc")
    # Only now: what it needs may be just what is missing.
    from ipckit.cli.inventory.collect import collect  # noqa: PLC0415
    from ipckit.cli.inventory.entry import KEPT, LEAKED  # noqa: PLC0415

    entries = collect(directories).entries
    leaked = [each.name for each in entries if each.verdict == LEAKED]
    kept = [each.name for each in entries if each.verdict == KEPT]
    if leaked:
        return Check("leaked objects", WRONG, ", ".join(leaked), "ipckit rm --leaked")
    if kept:
        step = "start their server again, or ipckit rm --leaked --kept"
        return Check("leaked objects", NOTE, f"kept by dead servers: {', '.join(kept)}", step)
    return Check("leaked objects", OK, "none")


def _shared_queues() -> Check:
    if not os.path.isdir("/proc/self/fd"):
        return Check("shared queues", NOTE, "not known without /proc")
    # Only now: what it needs may be just what is missing.
    from ipckit.cli.machine.shared_queues import judge, look  # noqa: PLC0415

    return judge(look())

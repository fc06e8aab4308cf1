"""Run a program as a container would: `python confine.py SPECIFICATION PROGRAM ARGUMENT...`.

The specification is JSON; every key may be missing:

    places   what /dev/shm, /proc and the root are: keys of PLACES
    refused  {system call: "EPERM" or "ENOSYS"}: by a seccomp filter
    limits   {"NOFILE": 64}: names of RLIMIT_*, soft and hard
    uid      the program's user, which need not have a name
    group    a file cgroup.procs: the program's control group
    closed   directories into whose parents their owner alone may look
    reaps    false: PID 1 waits for the program alone
    seconds  the program is killed after so long

Contract  Prints one JSON object: `code` (exit code of the program, negative: a signal), `out`,
          `err`, and `left`: what is there after its end and was not before it, of queues, segments,
          files in /dev/shm, /dev/mqueue, /run, /tmp, /var/tmp, and of processes. Zombies are no
          processes.
          The program has its own mount, IPC and pid namespaces, so the end of this process ends all
          that it started. Exit code 77: this kernel, or its rights, allow no such thing.
Kernel    unshare(2), mount(2), seccomp(2), user_namespaces(7), pid_namespaces(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import resource
import select
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

IMPOSSIBLE = 77

_NEWNS, _NEWIPC, _NEWUSER, _NEWPID = 0x20000, 0x8000000, 0x10000000, 0x20000000  # sched.h
_READ_ONLY, _REMOUNT, _BIND, _MOVE, _REC, _PRIVATE = 1, 32, 4096, 8192, 0x4000, 0x40000  # mount.h
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

NUMBERS = {
    "x86_64": {
        "eventfd": (284, 290),  # and eventfd2
        "futex_waitv": (449,),
        "get_robust_list": (274,),
        "io_uring": (425, 426, 427),
        "memfd_create": (319,),
        "msgget": (68,),
        "pidfd_open": (434,),
        "prctl": (157,),
        "ptrace": (101,),
        "set_robust_list": (273,),
    },
    "aarch64": {
        "eventfd": (19,),
        "futex_waitv": (449,),
        "get_robust_list": (100,),
        "io_uring": (425, 426, 427),
        "memfd_create": (279,),
        "msgget": (186,),
        "pidfd_open": (434,),
        "prctl": (167,),
        "ptrace": (117,),
        "set_robust_list": (99,),
    },
}
"""Numbers of system calls: asm/unistd_64.h, asm-generic/unistd.h."""

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int = 0, data: str = "") -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind)]
    _call("mount", *words, flags, data.encode())


# -- places ---


def _no_shm() -> None:
    """A /dev with devices alone."""
    dev = "/tmp/dev"
    os.mkdir(dev)
    _mount("tmpfs", dev, "tmpfs", 0, "mode=755")
    for name in _DEVICES:
        Path(dev, name).touch()
        _mount(f"/dev/{name}", f"{dev}/{name}", None, _BIND)
    os.symlink("/proc/self/fd", f"{dev}/fd")
    os.mkdir(f"{dev}/mqueue")
    _mount("mqueue", f"{dev}/mqueue", "mqueue")
    _mount(dev, "/dev", None, _MOVE)
    os.rmdir(dev)


def _small_shm() -> None:
    _mount("tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777,size=64k")


def _no_proc() -> None:
    _mount("tmpfs", "/proc", "tmpfs", 0, "mode=555")


def _read_only_root() -> None:
    """As `docker run --read-only`: /dev/shm and /dev/mqueue alone can be written."""
    for place in ("/run", "/tmp", "/var/tmp"):
        _mount("none", place, None, _REMOUNT | _BIND | _READ_ONLY)
    for line in Path("/proc/self/mounts").read_text().splitlines():
        place = line.split()[1].encode().decode("unicode_escape")
        if not place.startswith(("/dev", "/proc", "/sys")):
            with contextlib.suppress(OSError):
                _mount("none", place, None, _REMOUNT | _BIND | _READ_ONLY)


PLACES = {
    "no /dev/shm": _no_shm,
    "64 KB of /dev/shm": _small_shm,
    "no /proc": _no_proc,
    "read-only root": _read_only_root,
}


def _own_places(closed: list[str]) -> None:
    """Fresh file systems where programs leave things."""
    _mount("none", "/", None, _REC | _PRIVATE)
    _mount("proc", "/proc", "proc")
    _mount("tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777")
    if os.path.isdir("/dev/mqueue"):
        _mount("mqueue", "/dev/mqueue", "mqueue")
    for place in ("/run", "/tmp", "/var/tmp"):
        _mount("tmpfs", place, "tmpfs", 0, "mode=1777")
    kept = {path: f"/tmp/{number}" for number, path in enumerate(closed)}
    for path, aside in kept.items():
        os.mkdir(aside)
        _mount(path, aside, None, _BIND | _REC)
    for parent in sorted({os.path.dirname(path) for path in closed}):
        _mount("tmpfs", parent, "tmpfs", 0, "mode=700")
    for path, aside in kept.items():
        os.makedirs(path, mode=0o700, exist_ok=True)
        _mount(aside, path, None, _MOVE)
        os.rmdir(aside)


# -- what the program may not ---


def _refuse(calls: dict[str, str]) -> None:
    """Install a filter: it loads the number of the call, and compares it with each refused one."""
    numbers = NUMBERS.get(platform.machine())
    if numbers is None:
        raise OSError(errno.ENOSYS, f"the numbers of {platform.machine()} are not known here")
    steps = [(0x20, 0, 0, 0)]
    for name, code in calls.items():
        answer = 0x50000 | getattr(errno, code)  # SECCOMP_RET_ERRNO
        for number in numbers[name]:
            steps += [(0x15, 0, 1, number), (0x06, 0, 0, answer)]
    steps.append((0x06, 0, 0, 0x7FFF0000))  # SECCOMP_RET_ALLOW
    code_ = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code_)
    program = struct.pack("@HP", len(steps), ctypes.addressof(buffer))
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", _PR_SET_SECCOMP, 2, ctypes.create_string_buffer(program), 0, 0)


def _become(uid: int) -> None:
    """In a user namespace of its own, so that the files of this user stay within reach."""
    outside = os.geteuid(), os.getegid()
    _call("unshare", _NEWUSER)
    _map_to(uid, *outside)
    os.setgid(uid)
    os.setuid(uid)


def _map_to(inside: int, uid: int, gid: int) -> None:
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inside} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{inside} {gid} 1")


def _confined(spec: dict[str, Any], words: list[str]) -> NoReturn:
    """In the program's process: all that it may not, then the program."""
    try:
        if "group" in spec:
            Path(spec["group"]).write_text("0")
        if "uid" in spec:
            _become(spec["uid"])
        for place in spec.get("places", ()):
            if place != "no /proc":
                PLACES[place]()
        if "no /proc" in spec.get("places", ()):
            _no_proc()
        for name, most in spec.get("limits", {}).items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
        if spec.get("refused"):
            _refuse(spec["refused"])
        os.execv(words[0], words)
    except OSError as why:
        print(why, file=sys.stderr, flush=True)
    os._exit(IMPOSSIBLE)


# -- PID 1 ---


def _left(proc: int) -> set[str]:
    found = set()
    for kind in ("msg", "shm", "sem"):
        with open(os.open(f"sysvipc/{kind}", os.O_RDONLY, dir_fd=proc), encoding="ascii") as file:
            found |= {f"System V {kind} {line.split()[1]}" for line in file.readlines()[1:]}
    for place in ("/dev/shm", "/dev/mqueue", "/run", "/tmp", "/var/tmp"):
        for folder, _, names in os.walk(place):
            found |= {os.path.join(folder, name) for name in names}
            if not os.path.basename(folder).startswith("ipckit") and folder != place:
                found.add(folder)
    for name in os.listdir(proc):
        if name.isdecimal() and name != "1":
            with contextlib.suppress(OSError):
                file = os.open(f"{name}/stat", os.O_RDONLY, dir_fd=proc)
                with open(file, encoding="utf-8", errors="replace") as stat:
                    text = stat.read()
                if text.rpartition(")")[2].split()[0] not in "ZX":
                    found.add(f"process {text.partition(' (')[2].rpartition(')')[0]}")
    return found


def _first_process(spec: dict[str, Any], words: list[str], report: int) -> None:
    """As PID 1: start the program, collect what it prints, look at what it leaves."""
    _own_places(spec.get("closed", []))
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    before = _left(proc)
    pipes = [os.pipe(), os.pipe()]
    pid = os.fork()
    if pid == 0:
        for number, (_, writing) in enumerate(pipes, 1):
            os.dup2(writing, number)
        os.closerange(3, 64)
        _confined(spec, words)
    out = [b"", b""]
    end = time.monotonic() + spec.get("seconds", 60)
    status = None
    for _, writing in pipes:
        os.close(writing)
    reading = {pipes[n][0]: n for n in (0, 1)}
    while status is None:
        found, state = os.waitpid(pid if not spec.get("reaps", True) else -1, os.WNOHANG)
        if found == pid:
            status = state
        elif time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        _drain(reading, out, 0.005)
    late = time.monotonic() + spec.get("seconds", 60)
    while (left := _left(proc) - before) and time.monotonic() < late:
        if spec.get("reaps", True):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
        _drain(reading, out, 0.005)
    _drain(reading, out, 0)
    form = {
        "code": os.waitstatus_to_exitcode(status),
        "out": out[0].decode(errors="replace"),
        "err": out[1].decode(errors="replace"),
        "left": sorted(left),
    }
    with open(report, "w", encoding="utf-8") as file:
        json.dump(form, file)


def _drain(reading: dict[int, int], out: list[bytes], seconds: float) -> None:
    ready = select.select(list(reading), [], [], seconds)[0]
    for fd in ready:
        data = os.read(fd, 1 << 16)
        out[reading[fd]] += data
        if not data:
            del reading[fd]


def main(words: list[str]) -> int:
    spec = json.loads(words[0])
    flags = _NEWNS | _NEWIPC | _NEWPID | (_NEWUSER if os.geteuid() else 0)
    outside = os.geteuid(), os.getegid()
    reading, report = os.pipe()
    try:
        _call("unshare", flags)
        if flags & _NEWUSER:
            _map_to(outside[0], *outside)
    except OSError as why:
        print(why, file=sys.stderr)
        return IMPOSSIBLE
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        code = 1
        try:
            _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            _first_process(spec, words[1:], report)
            code = 0
        except OSError as why:
            print(f"{type(why).__name__}: {why}", file=sys.stderr)
            raise
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(report)
    with open(reading, encoding="utf-8") as file:
        text = file.read()
    os.waitpid(pid, 0)
    print(text)
    return 0 if text else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The preloaded library: it counts, it fails one call of one role, and it sees what strace sees."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from inject.library import page

TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return page.build(tmp_path_factory.mktemp("library"))


def run(library, tmp_path, code, *before):
    env = page.environment(library, tmp_path / "page")
    head = "import os, socket\nfrom inject.library.page import *\npage = Page()\n"
    done = subprocess.run(  # noqa: PLW1510  (asserted below, with what it says)
        [*before, sys.executable, "-c", head + textwrap.dedent(code)],
        env={**env, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_nth_call_of_one_role_fails_once(library, tmp_path):
    lines = run(
        library,
        tmp_path,
        """
        def tries():
            made = []
            for _ in range(4):
                try:
                    os.close(os.eventfd(0))
                    made.append(0)
                except OSError as exc:
                    made.append(exc.errno)
            return made
        page.arm(WORKER, "eventfd", "", 24, 3)
        print(tries())                 # nobody takes part yet
        page.role(MANAGER)
        print(tries())                 # another role
        page.role(WORKER)
        print(tries(), page.disarm())
        print(tries(), page.counts()[WORKER, "eventfd", ""], page.counts()[MANAGER, "eventfd", ""])
        """,
    )
    assert errno.EMFILE == 24
    assert lines == ["[0, 0, 0, 0]", "[0, 0, 0, 0]", "[0, 0, 24, 0] True", "[0, 0, 0, 0] 8 4"]


def test_calls_are_told_apart_by_what_their_descriptor_is(library, tmp_path):
    lines = run(
        library,
        tmp_path,
        f"""
        file = os.open({str(tmp_path / "file")!r}, os.O_CREAT | os.O_RDWR)
        memory = os.memfd_create("x")
        a, b = socket.socketpair()
        r, w = os.pipe()
        event = os.eventfd(0)
        page.role(TASK_WORKER)
        for fd in (file, memory, a.fileno(), w, 1):
            os.write(fd, b"x")
        os.eventfd_write(event, 1)
        page.role(NOBODY)
        print()
        print(sorted(kind for role, call, kind in page.counts() if call == "write"))
        """,
    )
    assert lines[-1] == "['file', 'log', 'memory', 'other', 'pipe', 'unix']"


def test_a_child_of_the_manager_boots_and_is_noted(library, tmp_path):
    lines = run(
        library,
        tmp_path,
        """
        page.role(MANAGER)
        pid = os.fork()
        if pid == 0:
            os.close(os.eventfd(0))
            os._exit(0)
        os.waitpid(pid, 0)
        page.role(NOBODY)
        print(page.counts()[BOOT, "eventfd", ""], [n.what == FORK and n.a == pid for n in page.new_notes()])
        """,
    )
    assert lines == ["1 [True]"]


def test_a_closed_descriptor_is_closed_although_close_failed(library, tmp_path):
    lines = run(
        library,
        tmp_path,
        f"""
        fd = os.open({str(tmp_path / "file")!r}, os.O_CREAT | os.O_RDWR)
        page.role(MANAGER)
        page.arm(MANAGER, "close", "file", 5, 1)
        try:
            os.close(fd)
        except OSError as exc:
            print(exc.errno)
        page.disarm()
        page.role(NOBODY)
        print(os.path.exists(f"/proc/self/fd/{{fd}}"))
        """,
    )
    assert lines == ["5", "False"]


@pytest.mark.needs_strace
def test_what_a_server_calls_is_what_the_library_counts(library, tmp_path):
    """Past the C library's names only its own calls go: memory, threads, clocks, the loader."""
    log = tmp_path / "strace"
    code = """
        import ipckit
        os.path.exists("/begins-here")
        page.role(MANAGER)
        server = ipckit.Server("127.0.0.1", 0, worker_num=1, task_worker_num=1,
                               runtime_dir={!r}, open_eof_check=True)
        server.on("receive", lambda server, fd, reactor, data: server.task(data))
        server.on("task", lambda server, *task: None)
        server.on("start", lambda server: server.shutdown())
        server.start()
        page.role(NOBODY)
        for key in page.counts():
            print(key[1])
    """.format(str(tmp_path / "run"))
    counted = set(run(library, tmp_path, code, "strace", "-f", "-qq", "-o", str(log)))
    traced = {
        line.split(None, 1)[1].partition("(")[0]
        for line in log.read_text(errors="replace").partition("/begins-here")[2].splitlines()[1:]
        if "(" in line and "resumed>" not in line and "SO_DOMAIN" not in line
    }
    same = {
        "newfstatat": "stat fstat",
        "clone": "fork",
        "clone3": "fork",
        "openat": "open opendir",
        "eventfd2": "eventfd",
        "pread64": "pread",
        "pwrite64": "pwrite",
        "wait4": "waitpid",
        "prlimit64": "setrlimit",
        "sendto": "send",
        "recvfrom": "recv",
        "fcntl": "fcntl_setlk fcntl_dupfd",
        "fallocate": "posix_fallocate",
        "unlinkat": "unlink",
        "lstat": "stat",
        "dup": "dup",
    }
    # futex(2): of pthreads. prlimit64(2): getrlimit(3), the limit is high enough.
    cannot_fail = set(
        "access alarm arch_prctl futex prlimit64 brk clock_nanosleep execve exit exit_group fadvise64 faccessat2 "
        "getcwd getdents64 getegid geteuid getgid getgroups getpgrp getpid getppid getrusage "
        "gettid getuid lseek madvise mprotect munmap nanosleep readlink restart_syscall rseq "
        "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait sched_getaffinity sched_yield "
        "set_robust_list set_tid_address sigaltstack sysinfo umask uname statfs timer_delete "
        "clock_gettime clock_getres gettimeofday getrlimit tgkill statx pause getsid "
        "sched_setaffinity capget".split()
    )
    counted_calls = {"fstat", *counted}
    missing = {
        call
        for call in traced - cannot_fail
        if not counted_calls & set(same.get(call, call).split())
    }
    assert missing <= {"io_uring_enter", "io_uring_register"}, missing

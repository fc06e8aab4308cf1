"""The `ptrace` engine: one process is held, or killed, between two machine instructions of a call.

Contract  Instructions are counted within the C libraries that the machine names in `libraries`
          (parts of their file names; none: every library but Python's and the system's own). The
          victim begins alone; at the scheduled instruction it is killed, or held until all others
          have made their calls or wait for it, and then goes on or is killed.
          x86-64 only: SystemCallError with ENOSYS elsewhere, and where ptrace is refused.
Stands on ptrace(2), as tests of the table's core do (`trace/trace.h`).
"""

from __future__ import annotations

import errno
import functools
import os
import platform
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from ipckit._core import ffi, lib
from ipckit.errors import SystemCallError, from_errno
from ipckit.testing.engines.common import finish, fork_branches
from ipckit.testing.errors import MachineError
from ipckit.testing.histories.history import History
from ipckit.testing.histories.operation import Event
from ipckit.testing.processes.child import DONE
from ipckit.testing.processes.crew import Blocked, Crew, Member
from ipckit.testing.processes.progress import Progress
from ipckit.testing.programs.preemptions import ALL
from ipckit.testing.programs.program import Program
from ipckit.testing.programs.schedules import Schedule
from ipckit.testing.spec import Machine

SYSTEM = re.compile(
    r"/(python[\d.]*|libpython.*|libc[.-].*|ld-linux.*|ld-[\d.]+\.so|libm[.-].*|libpthread.*|libdl.*"
    r"|librt[.-].*|libgcc_s.*|libstdc.*|libffi.*|libcrypto.*|libssl.*|libz[.-].*|_cffi_backend.*"
    r"|_pickle.*|_struct.*|_posixsubprocess.*|math\..*|select\..*|_random.*|_datetime.*)$"
)
PATIENCE = 100_000_000  # ns outside of the libraries; longer, and it waits in a system call
ALONE = 1.0  # seconds that the victim has to come to its traced call
MOST = (1 << 32) - 1


def run(machine: Machine, program: Program, schedule: Schedule, crew: Crew) -> tuple[History, int]:
    """Run a program once; also give how many instructions the victim's call did."""
    _check_ptrace()
    fork_branches(crew, machine, program, schedule, lambda _worker: None)
    assert schedule.victim is not None
    lane, call, at = schedule.victim
    if lane == 0:
        call += len(program.before)
    victim = crew.member(lane)
    others = [each for each in crew.members if each is not victim]
    crew.wake(victim)
    done = 0
    held = False
    if _reaches(crew, victim, others):
        began = time.monotonic()
        done, held = _hold(victim, machine.libraries, min(at, MOST))
        crew.deadline += time.monotonic() - began  # the object is not to blame for being stepped
        if held and schedule.kill_victim and not schedule.kill_after_others:
            _kill(crew, victim)
            held = False
        elif held:
            crew.events.append(Event(lane, "stopped", lib.ipk_stamp()))
    for other in others:
        crew.wake(other)
    if held:
        _others_first(crew, victim, others)
        if schedule.kill_victim:
            _kill(crew, victim)
        else:
            crew.events.append(Event(lane, "continued", lib.ipk_stamp()))
            lib.ipk_trace_let_go(_trace(victim))
    crew.await_all(DONE)
    history = finish(crew, machine, program)
    called, returned = crew.log.counts(lane)
    return history, done if at >= ALL and called > call and returned > call else 0


@functools.cache
def _check_ptrace() -> None:
    """Raise SystemCallError where no process can be traced: a child asks to be."""
    pid = os.fork()
    if pid == 0:
        os._exit(-lib.ipk_trace_me())  # it stops in that call
    status = os.waitpid(pid, os.WUNTRACED)[1]
    if os.WIFSTOPPED(status):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return
    what = "engine = 'ptrace' cannot step a process; engines 'real' and 'stepped' do without"
    if platform.machine() != "x86_64":
        raise SystemCallError(errno.ENOSYS, f"ptrace: {what}; it needs x86-64")
    raise from_errno("ptrace", os.waitstatus_to_exitcode(status), what)


def _kill(crew: Crew, victim: Member) -> None:
    lib.ipk_trace_kill(_trace(victim))
    crew.forget(victim)


def _trace(member: Member) -> object:
    trace = ffi.new("struct ipk_trace *")
    trace.pid = member.pid
    return trace


def _reaches(crew: Crew, victim: Member, others: Sequence[Member]) -> bool:
    """Wait until the victim is where tracing begins; False: it has ended before.

    It may wait for another in a call before that one: then all are woken.
    """
    until = time.monotonic() + ALONE
    options = os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT
    while (found := os.waitid(os.P_PID, victim.pid, options)) is None:
        if crew.is_over([victim]):
            raise Blocked(crew.where([victim]))
        if others and time.monotonic() > until:
            for other in others:
                crew.wake(other)
            others = ()
        os.sched_yield()
    if found.si_code not in (os.CLD_STOPPED, os.CLD_TRAPPED):
        return False  # `Crew` reaps it
    return bool(lib.ipk_trace_begin(_trace(victim), victim.pid) == 0)


def _hold(victim: Member, libraries: Sequence[str], count: int) -> tuple[int, bool]:
    """Go on to instruction `count`; (instructions done, whether it is held there)."""
    pairs = _ranges(victim.pid, libraries)
    ranges = ffi.new("uint64_t[]", pairs)
    done = ffi.new("uint32_t *")
    end = lib.ipk_trace_mark_at()
    trace = _trace(victim)
    before = os.sched_getaffinity(0)
    result = -errno.ECHILD
    os.sched_setaffinity(0, {min(before)})  # both on one CPU: a step is then a quarter as long
    os.sched_setaffinity(victim.pid, {min(before)})
    try:
        result = lib.ipk_trace_within(trace, ranges, len(pairs) // 2, count, end, PATIENCE, done)
    finally:
        os.sched_setaffinity(0, before)
        if result != -errno.ECHILD:
            os.sched_setaffinity(victim.pid, before)
    if result == 0:
        return done[0], True
    if result == 1:
        lib.ipk_trace_let_go(trace)
    return done[0], False


def _others_first(crew: Crew, victim: Member, others: Sequence[Member]) -> None:
    progress = Progress()
    while not crew.nobody_gets_on(victim, progress):
        crew.step([each for each in others if each.alive and DONE not in each.reports], 0.002)


def _ranges(pid: int, libraries: Sequence[str]) -> list[int]:
    """Give the executable addresses of the libraries meant, as pairs."""
    pairs = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) < 6 or "x" not in parts[1] or not parts[5].startswith("/"):
            continue
        if any(each in parts[5] for each in libraries) or not (
            libraries or SYSTEM.search(parts[5])
        ):
            pairs += [int(each, 16) for each in parts[0].split("-")]
    if not pairs:
        raise MachineError(
            f"no C library is loaded that libraries = {tuple(libraries)!r} means, and engine ="
            " 'ptrace' holds a process in C code only; for Python code use 'stepped'"
        )
    return pairs

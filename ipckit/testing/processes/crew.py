"""The processes of one run, from the parent's side: forked, woken, watched, ended.

Contract  `Crew` is a context: at its end no process of it is left, whatever happened.
          `moment of death` is when the parent saw it: never before the process was dead.
          Every wait has the run's deadline, and goes on after it while a late one is runnable and
          has had less CPU time than that (a busy machine is not a fault); then `Blocked` is raised,
          with the stacks of those that were late.
          A process that is held or stopped goes on when no other can get on (`progress.py`).
Fork      of the calling process, in its main thread; it should have no others.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from ipckit._core import lib
from ipckit.errors import system_call
from ipckit.testing.errors import MachineError
from ipckit.testing.histories.history import History
from ipckit.testing.histories.operation import UNDER_WAY, Event, Operation
from ipckit.testing.processes.child import (
    DONE,
    HELD,
    WHERE_SIGNAL,
    YIELDED,
    Child,
    Refused,
    check_ends_with_parent,
    forked,
)
from ipckit.testing.processes.progress import Progress, cpu_ns, state
from ipckit.testing.processes.shared_log import SharedLog
from ipckit.testing.programs.program import Call, Program

EXTENSIONS = 60  # times the deadline at most, on a machine that gives its processes no CPU


class Blocked(Exception):
    """Some process did not get on before the deadline; the text says which, and where it was."""


class Crashed(Exception):
    """A process ended that nothing was to end; the text says which, how, and in what."""


class Member:
    """One process of a `Crew`."""

    def __init__(self, lane: int, pid: int, go: int) -> None:
        self.lane, self.pid, self.go = lane, pid, go
        with system_call("pidfd_open", f"process {pid} of the run", "raise ulimit -n"):
            self.pidfd = os.pidfd_open(pid)
        self.alive = True
        self.reports: list[bytes] = []
        self.died_at = 0
        self.stopped: Progress | None = None  # of the others, since it was

    def state(self) -> str:
        """Give the kernel's letter for what it does: R, S, D, T, Z."""
        return state(self.pid)


class Crew:
    """The processes of one run."""

    def __init__(self, log: SharedLog, seconds: float) -> None:
        check_ends_with_parent()
        self.log = log
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds
        self.extensions = EXTENSIONS
        self.members: list[Member] = []
        self.events: list[Event] = []
        self.expected: set[int] = set()  # lanes that a fault may end
        self._stoppable: set[int] = set()
        self._while_held = Progress()
        self._overdue = Progress()  # of the late ones, after the deadline
        with contextlib.ExitStack() as undo:
            with system_call("pipe2", "for the processes of the run", "raise ulimit -n"):
                self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            undo.callback(os.close, self._read)
            undo.callback(os.close, self._write)
            with system_call("memfd_create", "for stacks of the run", "raise ulimit -n"):
                self._stacks = os.memfd_create("ipckit-stacks", os.MFD_CLOEXEC)
            undo.pop_all()
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        log.clear()

    def __enter__(self) -> Self:
        """Begin; members are forked one by one."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every process, and reap it."""
        living = [member for member in self.members if member.alive]
        for member in living:  # all first: they go away side by side
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, signal.SIGKILL)
        for member in living:
            os.waitpid(member.pid, 0)
        for member in self.members:
            os.close(member.pidfd)
            os.close(member.go)
        for descriptor in (self._read, self._write, self._stacks):
            os.close(descriptor)

    def fork(self, lane: int, body: Callable[[Child], None]) -> Member:
        """Start a process that runs `body` and then waits to be ended."""
        with system_call("eventfd", "to wake a process of the run", "raise ulimit -n"):
            go = os.eventfd(0, os.EFD_CLOEXEC)
        parent = os.getpid()

        def run() -> None:
            body(Child(lane, self.log, go, self._write, self._stacks))
            while True:
                signal.pause()

        pid = 0
        try:
            pid = forked(parent, lane, run)
            member = Member(lane, pid, go)
        except BaseException:
            if pid:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            os.close(go)
            raise
        self._poll.register(member.pidfd, select.POLLIN)
        self.members.append(member)
        return member

    def wake(self, member: Member) -> None:
        """Let a member go on."""
        os.eventfd_write(member.go, 1)

    def await_all(self, kind: bytes, members: Sequence[Member] | None = None) -> None:
        """Wait until each member has reported `kind`, or is dead. Blocked, Crashed."""
        of = self.members if members is None else members
        while late := [each for each in of if each.alive and kind not in each.reports]:
            self.step(late)

    def step(self, late: Sequence[Member], patience: float = 0.2) -> None:
        """Wait for the next thing to happen. Blocked: the deadline is over; Crashed."""
        look_soon = self._continue_stopped() | self._release_held()
        left = self.deadline - time.monotonic()
        if left <= 0:
            if self.is_over(late) and not self._poll.poll(0):  # else this process was late itself
                raise Blocked(self.where(late))
            look_soon, left = True, patience
        for descriptor, _ in self._poll.poll(
            1000 * max(0, min(left, 0.001 if look_soon else patience))
        ):
            if descriptor == self._read:
                self._read_reports()
            else:
                self._bury(descriptor)

    def is_over(self, late: Sequence[Member]) -> bool:
        """Whether the deadline is over, and no late member will get on.

        The deadline is extended for a member that waits for the CPU alone. While a member waits for
        this process, sleep is no reason: the sleepers may wait for that member.
        """
        if time.monotonic() < self.deadline:
            return False
        if not self.extensions:
            return True
        if any(map(self._is_kept_waiting, late)):
            self.extensions -= 1
            self.deadline = time.monotonic() + self.seconds
            self._overdue = Progress()
            return False
        states = [each.state() for each in late]
        if set(states) == {"S"} and any(map(_waits_for_parent, self.members)):
            return False
        stuck = [self._overdue.stuck(each.pid) for each in late]
        return all(each or now in "Tt" for each, now in zip(stuck, states, strict=True))

    def _is_kept_waiting(self, member: Member) -> bool:
        """Whether it does not wait for anything but the CPU, and has had little of that."""
        return member.state() in "RD" and cpu_ns(member.pid) < 1e9 * self.seconds

    def nobody_gets_on(self, but: Member, progress: Progress) -> bool:
        """Whether all others are done, dead, held, stopped or stuck."""
        return all(
            not each.alive
            or DONE in each.reports
            or HELD in each.reports
            or each.stopped is not None
            or progress.stuck(each.pid)
            for each in self.members
            if each is not but
        )

    def _release_held(self) -> bool:
        """Let a held member go on when nobody else can; whether one is held."""
        held = [each for each in self.members if each.alive and HELD in each.reports]
        if not held:
            return False
        first = held[0]
        if self.nobody_gets_on(first, self._while_held):
            first.reports.remove(HELD)
            self._while_held = Progress()
            self.wake(first)
        return True

    def watch_stops(self, lanes: set[int]) -> None:
        """Look after members that a fault may stop."""
        self._stoppable = lanes

    def _continue_stopped(self) -> bool:
        """Let stopped members go on when nobody else can; whether one may yet be stopped."""
        if not self._stoppable:
            return False
        for member in self.members:
            if member.lane not in self._stoppable or not member.alive:
                continue
            if member.stopped is None:
                found = os.waitid(os.P_PID, member.pid, os.WSTOPPED | os.WNOHANG)
                if found is None:
                    continue
                member.stopped = Progress()
                self.events.append(Event(member.lane, "stopped", lib.ipk_stamp()))
            if self.nobody_gets_on(member, member.stopped):
                self.events.append(Event(member.lane, "continued", lib.ipk_stamp()))
                os.kill(member.pid, signal.SIGCONT)
                member.stopped = None
                self._stoppable.discard(member.lane)
        return bool(self._stoppable)

    def _read_reports(self) -> None:
        with contextlib.suppress(BlockingIOError):
            read = os.read(self._read, 4096)
            for at in range(0, len(read), 2):
                self.member(read[at + 1]).reports.append(read[at : at + 1])

    def _bury(self, pidfd: int) -> None:
        moment = lib.ipk_stamp()
        member = next(each for each in self.members if each.pidfd == pidfd)
        self._poll.unregister(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(member.pid, 0)[1])
        self.mark_dead(member, moment)
        if code != -signal.SIGKILL or member.lane not in self.expected:
            raise Crashed(self._last_words(member, code))

    def forget(self, member: Member) -> None:
        """Note that somebody else has killed and reaped a member."""
        self._poll.unregister(member.pidfd)
        self.mark_dead(member, lib.ipk_stamp())

    def mark_dead(self, member: Member, moment: int) -> None:
        """Note that a member was killed and reaped."""
        self._read_reports()  # those from before its death
        member.alive = False
        member.died_at = moment
        self.events.append(Event(member.lane, "killed", moment))

    def _last_words(self, member: Member, code: int) -> str:
        called, done = self.log.counts(member.lane)
        how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
        where = f"in its call {called}" if called > done else f"after {done} calls"
        return "\n".join([f"process {member.lane} ended {how}, {where}", *self._stack(0)])

    def member(self, lane: int) -> Member:
        """Give the member of that lane."""
        return next(each for each in self.members if each.lane == lane)

    def where(self, late: Sequence[Member]) -> str:
        """Name the members that are late, and what each of them was doing."""
        lines = []
        for member in late:
            called, done = self.log.counts(member.lane)
            state = member.state()
            lines.append(
                f"process {member.lane} is in its call {called}, state {state}"
                if called > done
                else f"process {member.lane} makes no call, after {done}; state {state}"
            )
            size = os.lseek(self._stacks, 0, os.SEEK_END)
            os.kill(member.pid, WHERE_SIGNAL)
            until = time.monotonic() + 0.2
            while os.fstat(self._stacks).st_size == size and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(0.005)  # the rest of the stack
            lines += self._stack(size)
        return "\n".join(lines)

    def _stack(self, start: int) -> list[str]:
        """Read a stack that a member wrote, as far as it is of the operation."""
        text = os.pread(self._stacks, 65536, start).decode(errors="replace")
        stack: list[str] = []
        for line in text.splitlines():
            if not line:
                continue
            if "ipckit/testing" not in line:
                stack.append("  " + line)
            elif any("File" in each for each in stack):
                break  # from here on it is the harness that called
        return stack

    def history(self, program: Program) -> History:
        """Read what the members logged. MachineError: a result could not be kept."""
        operations = []
        for member in self.members:
            for index, call in enumerate(lane_calls(program, member.lane)):
                operation = self._operation(member, index, call)
                if operation is None:
                    break
                operations.append(operation)
        return History(operations, self.events)

    def _operation(self, member: Member, index: int, call: Call) -> Operation | None:
        called, done = self.log.counts(member.lane)
        if index >= called:
            return None
        if index >= done:
            at = self.log.called_at(member.lane, index)
            end = member.died_at or lib.ipk_stamp()
            result = None if member.died_at else UNDER_WAY
            return Operation(member.lane, call.name, call.arguments, at, end, result, cut=True)
        at, end, _, _, result = self.log.read(member.lane, index)
        if isinstance(result, Refused):
            raise MachineError(f"{call}: {result.text}")
        return Operation(member.lane, call.name, call.arguments, at, end, result)

    def steps(self, program: Program) -> dict[str, tuple[int, int]]:
        """Give the most steps that each operation took where counted, and the most kill points."""
        most: dict[str, tuple[int, int]] = {}
        for member in self.members:
            _, done = self.log.counts(member.lane)
            for index, call in enumerate(lane_calls(program, member.lane)[:done]):
                steps, points = self.log.read(member.lane, index)[2:4]
                before = most.get(call.name, (0, 0))
                most[call.name] = max(before[0], steps), max(before[1], points)
        return most


def lane_calls(program: Program, lane: int) -> tuple[Call, ...]:
    """Give the calls of a lane: a branch, or, of the lane after the last, what follows them."""
    if lane == len(program.branches):
        return program.after
    return (*program.before, *program.branches[0]) if lane == 0 else program.branches[lane]


def _waits_for_parent(member: Member) -> bool:
    """Whether it is held, stopped or without a turn, so that it goes on when the parent lets it."""
    at_rest = {HELD, YIELDED} & set(member.reports) or member.stopped is not None
    return member.alive and DONE not in member.reports and bool(at_rest)

"""The `stepped` engine: one process at a time, switched between two of its steps as scheduled.

Contract  A process does a step (`bytecode.py`) only when it has a turn, so the same schedule gives
          the same interleaving. One that waits in a system call for another loses its turn; from
          then on the others go on step by step, until the kernel has woken it and it is at its next
          step: so it too goes on at a place that the schedule decides.
          A process is taken to wait when it has slept in one system call for 10 ms.
"""

from __future__ import annotations

from pathlib import Path

from ipckit.testing.engines.common import finish, fork_branches
from ipckit.testing.histories.history import History
from ipckit.testing.processes.child import DONE, YIELDED, Child
from ipckit.testing.processes.crew import Crew, Member
from ipckit.testing.programs.program import Program
from ipckit.testing.programs.schedules import Schedule
from ipckit.testing.spec import Machine

LOOK = 0.005  # seconds between two looks at the processes that might wait
FAIR = 5000  # steps of one turn at most: a process that spins for another one must lose its turn


class _Granted:
    """The child's side: does as many steps as were granted, then asks for more."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.left = child.log.granted(child.lane)

    def step(self, _name: str | None) -> None:
        if self.left <= 0:
            self.child.report(YIELDED)
            self.child.wait()
            self.left = self.child.log.granted(self.child.lane)
        self.left -= 1


def run(machine: Machine, program: Program, schedule: Schedule, crew: Crew) -> History:
    """Run a program once. Blocked, Crashed; what an invariant raises."""

    def begin(child: Child) -> None:
        child.turns = _Granted(child)

    fork_branches(crew, machine, program, schedule, begin)
    _Turns(crew).play(schedule)
    return finish(crew, machine, program)


class _Turns:
    """The parent's side: grants steps."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.waiting: set[int] = set()  # lanes in a system call, not woken yet

    def play(self, schedule: Schedule) -> None:
        """Give the turns of a schedule, then let each go on, in order, for as long as is fair."""
        round_robin = 0
        for lane, steps in schedule.turns:
            member = self.crew.member(lane)
            if _unfinished(member) and lane not in self.waiting:
                self.turn(member, min(steps, FAIR))
        while left := [each for each in self.crew.members if _unfinished(each)]:
            able = [each for each in left if each.lane not in self.waiting]
            if able:
                self.turn(able[round_robin % len(able)], FAIR)
                round_robin += 1
            else:
                self.crew.step(left)
                self._look_at_waiting()

    def turn(self, member: Member, steps: int) -> None:
        """Let a member do so many steps, or until it is done, dead, or waits."""
        while steps > 0 and _unfinished(member):
            count = 1 if self.waiting else steps
            steps -= count
            self._grant(member, count)
            if member.lane in self.waiting:
                return
            self._look_at_waiting()

    def _grant(self, member: Member, steps: int) -> None:
        crew = self.crew
        member.reports = [each for each in member.reports if each != YIELDED]
        crew.log.grant(member.lane, steps)
        crew.wake(member)
        slept = ""
        while not _at_rest(member):
            crew.step([member], LOOK)
            if not _at_rest(member):
                now = _asleep(member)
                if now and now == slept:
                    self.waiting.add(member.lane)
                    return
                slept = now

    def _look_at_waiting(self) -> None:
        """Find those that were woken; wait until each is at its next step, or waits again."""
        for lane in sorted(self.waiting):
            member = self.crew.member(lane)
            while not _at_rest(member):
                asleep = _asleep(member)
                self.crew.step([member], 0)  # reads what it reported before it slept
                if asleep:
                    break
            if _at_rest(member):
                self.waiting.discard(lane)


def _unfinished(member: Member) -> bool:
    return member.alive and DONE not in member.reports


def _at_rest(member: Member) -> bool:
    """Whether it is dead, done, or before a step that it has no turn for."""
    return not member.alive or YIELDED in member.reports or DONE in member.reports


def _asleep(member: Member) -> str:
    """Give the count of its switches while a process sleeps, or ""."""
    try:
        if member.state() != "S":
            return ""
        return Path(f"/proc/{member.pid}/status").read_text().rpartition("nonvoluntary")[0][-12:]
    except (FileNotFoundError, ProcessLookupError):
        return ""

"""One process of a run, from its own side: makes its calls, logs them, injects its faults.

Contract  A call is logged before it begins and after it ended; between the two the schedule's acts
          are done at their moments: `kill` and `stop` are real signals, `pause` a sleep, `hold`
          waits until the parent sees that no other process can get on.
          A fault at a named kill point strikes in its call, or in the first one after it that comes
          to that point: which call comes there often depends on what the others did.
          The process never returns to the code that forked it, and dies with its parent.
Blocks    between its phases and while it is held, until the parent writes its eventfd.
"""

from __future__ import annotations

import faulthandler
import functools
import gc
import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ipckit._core import ffi, lib
from ipckit.errors import from_errno
from ipckit.testing.histories.values import Raised
from ipckit.testing.processes.bytecode import Steps
from ipckit.testing.processes.shared_log import SharedLog
from ipckit.testing.programs.acts import ANY, POINT, Act
from ipckit.testing.programs.program import Call

READY, DONE, YIELDED, HELD = b"R", b"D", b"Y", b"H"
WHERE_SIGNAL = signal.SIGUSR2
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@dataclass(frozen=True)
class Refused:
    """What is logged as the result where the harness cannot go on; `text` says why."""

    text: str


class Performer(Protocol):
    """What a process needs of a machine."""

    def perform(self, call: Call) -> Any:
        """Make a call."""


class Turns(Protocol):
    """What decides about each step of a process: the stepped engine."""

    def step(self, name: str | None) -> None:
        """Come to a step; return when it may be done."""


class Child:
    """The child's side of a run; made after the fork."""

    def __init__(self, lane: int, log: SharedLog, go: int, events: int, stacks: int) -> None:
        self.lane, self.log, self.go, self.events = lane, log, go, events
        self.index = 0
        self.turns: Turns | None = None
        faulthandler.register(WHERE_SIGNAL, file=stacks, all_threads=True, chain=False)
        faulthandler.enable(file=stacks)  # a crash is in the failure's text, not on stderr
        gc.disable()  # a collection would touch, and so copy, every page of the parent

    def report(self, kind: bytes) -> None:
        """Say to the parent how far this process is."""
        os.write(self.events, kind + bytes([self.lane]))

    def wait(self) -> None:
        """Wait for the parent's word."""
        os.eventfd_read(self.go)

    def begin_together(self) -> None:
        """Spin until the moment at which all begin: waking up takes each its own time."""
        moment = self.log.starts_at()
        while time.monotonic_ns() < moment:
            pass

    def calls(
        self, machine: Performer, calls: Sequence[Call], acts: Mapping[int, Sequence[Act]]
    ) -> None:
        """Make the calls, one after the other; `acts` by their index in this list."""
        left: Sequence[Act] = ()
        for number, call in enumerate(calls):
            left = self._one(machine, call, (*acts.get(number, ()), *left))

    def _one(self, machine: Performer, call: Call, acts: Sequence[Act]) -> Sequence[Act]:
        """Make a call; give the faults at points that it did not come to."""
        index, self.index = self.index, self.index + 1
        counted = _Counted(acts, self.turns, self._do)
        steps = Steps(counted.step, instructions=counted.by_instruction)
        timers = []
        for act in acts:
            if act.at == "before":
                self._do(act)
        self.log.call(self.lane, index, lib.ipk_stamp())
        for act in acts:
            if act.at == "start":
                self._do(act)
            elif act.at == "timer":
                timers.append(_timer(_SIGNALS[act.what], act.ns))
        steps.begin()
        try:
            result = machine.perform(call)
        except BaseException as error:
            result = Raised.of(error)
        finally:
            steps.end()
        lib.ipk_trace_mark()  # so far the ptrace engine follows
        moment = lib.ipk_stamp()
        for timer in timers:
            lib.ipk_signal_not(timer)
        for act in acts:
            if act.at == "end":
                self._do(act)
        try:
            self.log.done(self.lane, index, moment, counted.count, counted.points, result)
        except ValueError as error:
            self.log.done(self.lane, index, moment, 0, 0, Refused(str(error)))
        return counted.left()

    def _do(self, act: Act) -> None:
        """Do it here and now."""
        if act.what == "pause":
            time.sleep(act.ns / 1e9)
        elif act.what == "hold":
            self.report(HELD)
            self.wait()
        elif act.what == "trace":
            lib.ipk_trace_me()  # the parent goes on from here
        elif act.what in _SIGNALS:
            os.kill(os.getpid(), _SIGNALS[act.what])


class _Counted:
    """Counts the steps of one call, and does what is due at each."""

    def __init__(self, acts: Sequence[Act], turns: Turns | None, do: Callable[[Act], None]) -> None:
        self.count = 0
        self.acts = acts
        self.turns = turns
        self.do = do
        self.at_step = {act.number: act for act in acts if act.at == "step"}
        self.at_point = {
            (act.at, act.number): act
            for act in acts
            if act.at not in ("before", "start", "end", "step", "timer")
        }
        self.points = 0
        self.passed: dict[str, int] = {}
        self.by_instruction = bool(turns or self.at_step or any(a.what == "count" for a in acts))

    def step(self, name: str | None) -> None:
        act = self.at_step.get(self.count)
        self.count += 1
        if act:
            self.do(act)
        if name is not None:
            number = self.passed.get(name, 0)
            self.passed[name] = number + 1
            act = self.at_point.get((POINT + name, number)) or self.at_point.get((ANY, self.points))
            self.points += 1
            if act:
                self.do(act)
        if self.turns:
            self.turns.step(name)

    def left(self) -> list[Act]:
        """Give the faults at named points that were not passed so often."""
        passed = {POINT + name: times for name, times in self.passed.items()}
        faults = [act for act in self.acts if act.what in _SIGNALS and act.at.startswith(POINT)]
        return [
            replace(act, number=act.number - passed.get(act.at, 0))
            for act in faults
            if act.number >= passed.get(act.at, 0)
        ]


def _timer(number: int, ns: int) -> Any:
    made = ffi.new("struct ipk_timer *")
    lib.ipk_signal_after(made, number, max(ns, 1))
    return made


@functools.cache
def check_ends_with_parent() -> None:
    """Raise SystemCallError where a process of a run could outlive this one: a child tries."""
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        os._exit(-lib.ipk_die_with_parent(parent, 0))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code > 0:
        raise from_errno("prctl", code, "so that the processes of a run end with it")


def forked(parent: int, lane: int, body: Any) -> int:
    """Fork a process that runs `body()` and ends with it; give its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        lib.ipk_die_with_parent(parent, 0)
        random.seed(lane)  # different in each process, the same in a replay
        body()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)

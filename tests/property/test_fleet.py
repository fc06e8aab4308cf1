"""The fleet under any order of events: F1 to F3, F5 to F8 of ipckit.server.supervision.fleet, bounded forks, and
a reload that ends."""

from __future__ import annotations

import errno

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipckit.server.shared.exit_codes import EXIT_BOOT_FAILED
from ipckit.server.supervision.actions import (
    Abort,
    Fork,
    GiveUp,
    Kill,
    Leave,
    ReloadBegun,
    ReloadDone,
)
from ipckit.server.supervision.fleet import DUMP_SECONDS, Fleet
from ipckit.server.supervision.in_order import InOrder
from ipckit.server.supervision.member import Stage

LIMIT = 30.0
"""Seconds for a process to leave."""


class Fleets(RuleBasedStateMachine):
    """The manager's part, without processes: an action is done as soon as it is asked for."""

    @initialize(workers=st.integers(1, 3), task_workers=st.integers(0, 2))
    def boot(self, workers, task_workers):
        self.slots = workers + task_workers
        self.workers = workers
        self.fleet = Fleet(workers, task_workers, LIMIT)
        self.now = 0.0
        self.pid = 0
        self.gave_up = False
        self.stopped = False
        self.in_order = InOrder(self.do_one)  # as the manager does
        self.killed: list[int] = []
        self.reloading = False
        self.number = 0  # F8: of the last reload that began
        self.late: set[int] = set()  # slots with an Abort since then
        self.only_task = False
        self.queued: bool | None = None  # only_task of the reload that waits
        self.told: dict[int, float] = {}  # place -> when it has to be gone
        self.aborted: dict[int, float] = {}  # place -> when it has to be killed
        self.incarnations = [0] * self.slots
        self.wanted = [0] * self.slots  # F7: one that is newer than this has to come
        self.stale: list[int] = []  # F3: at the begin of the reload that runs
        self.refused = 0  # of the next forks
        self.was_ready = False
        self.do(self.fleet.boot())

    def do(self, actions):
        self.in_order(actions)
        while self.killed:  # the manager learns of it later
            self.gone(self.killed.pop(0), None)

    def do_one(self, action):
        match action:
            case Fork() if self.gave_up:
                pass  # of the same list: the manager makes no process any more
            case Fork():
                assert not self.stopped
                assert self.fleet.member(action.place) is None, "F1: the place is taken"
                if self.refused:
                    self.refused -= 1
                    self.fork_failed(action)
                    return
                self.pid += 1
                self.incarnations[action.place // 2] = action.incarnation
                self.fleet.forked(action.place, action.incarnation, self.pid)
            case Leave():
                slot = action.place // 2
                successor = self.fleet.serving(slot)
                assert successor is not None and successor.place != action.place
                if not self.stopped:
                    self.told[action.place] = self.now + LIMIT
            case Abort():
                assert self.now >= self.told[action.place] and not self.stopped
                assert action.place not in self.aborted
                self.aborted[action.place] = self.now + DUMP_SECONDS
                self.late.add(action.place // 2)
            case Kill():
                assert self.now >= self.aborted[action.place]
                self.killed.append(action.place)
            case ReloadBegun():
                assert not self.reloading
                self.reloading = True
                self.number += 1
                self.late.clear()
                assert action.number == self.number, "F8"
                self.stale = list(self.incarnations)
            case ReloadDone():
                assert self.reloading
                self.reloading = False
                assert action.ok == (action.place is None)
                assert action.number == self.number and self.late.issuperset(action.killed)
                if action.ok:
                    self.all_is_new()
                if self.queued is not None:
                    self.only_task, self.queued = self.queued, None
            case GiveUp():
                self.gave_up = True
                self.stop()

    def all_is_new(self):
        """F3. What a reload leaves was forked after it began."""
        for slot in range(self.workers if self.only_task else 0, self.slots):
            newest = self.fleet.newest(slot)
            assert newest is None or newest.incarnation > self.stale[slot], "F39"

    def gone(self, place, code):
        slot = place // 2
        if self.fleet.member(place).incarnation == self.wanted[slot]:
            self.wanted[slot] = 0  # F7: it is gone
        self.told.pop(place, None)
        self.aborted.pop(place, None)
        self.do(self.fleet.died(place, code, self.now))

    def fork_failed(self, fork):
        """F5, F4."""
        code = errno.EAGAIN if self.refused % 3 else errno.EPERM
        up = self.was_ready
        actions = self.fleet.fork_failed(fork.place, "refused", code, self.now)
        assert not (up and any(isinstance(action, GiveUp) for action in actions))
        assert self.fleet.member(fork.place) is None
        self.do(actions)

    @rule(count=st.integers(1, 8))
    def the_kernel_refuses(self, count):
        self.refused = count

    def members(self, *stages):
        return [m for m in self.fleet.members() if m.stage in stages]

    @precondition(lambda self: self.members(Stage.BOOTING))
    @rule(data=st.data())
    def ready(self, data):
        member = data.draw(st.sampled_from(self.members(Stage.BOOTING)))
        self.do(self.fleet.ready(member.place, self.now))
        assert self.fleet.serving(member.place // 2) is member
        self.was_ready |= self.fleet.all_ready()

    @precondition(lambda self: self.members(Stage.SERVING, Stage.BOOTING))
    @rule(data=st.data(), gone=st.booleans())
    def leaving(self, data, gone):
        member = data.draw(st.sampled_from(self.members(Stage.SERVING, Stage.BOOTING)))
        gone = gone and member.stage is Stage.SERVING
        if gone and not self.stopped:
            self.told[member.place] = self.now + LIMIT
        self.wanted[member.place // 2] = member.incarnation
        self.do(self.fleet.leaving(member.place, self.now, gone=gone))

    @precondition(lambda self: self.fleet.members())
    @rule(data=st.data(), code=st.sampled_from([0, 6, None, 1, EXIT_BOOT_FAILED]))
    def dies(self, data, code):
        member = data.draw(st.sampled_from(self.fleet.members()))
        self.gone(member.place, code)

    @precondition(lambda self: not self.stopped)
    @rule(only_task=st.booleans())
    def reload(self, only_task):
        started, actions = self.fleet.reload(self.now, only_task=only_task)
        assert started != self.reloading
        assert self.fleet.last_reload == self.number + 1, "F8"
        if started:
            self.only_task = only_task
        else:
            self.queued = only_task and self.queued is not False
        self.do(actions)

    @rule(data=st.data())
    def replace(self, data):
        slot = data.draw(st.integers(0, self.slots - 1))
        meant = self.fleet.serving(slot) or self.fleet.newest(slot)
        if meant is not None:
            self.wanted[slot] = meant.incarnation
        self.do(self.fleet.replace(slot, self.now))

    @precondition(lambda self: self.members(Stage.BOOTING))
    @rule(data=st.data())
    def replace_one_that_boots(self, data):
        """As stop() in `worker_start` does."""
        member = data.draw(st.sampled_from(self.members(Stage.BOOTING)))
        self.wanted[member.place // 2] = member.incarnation
        self.do(self.fleet.replace(member.place // 2, self.now, member.place))

    @rule(seconds=st.integers(0, 20))
    def tick(self, seconds):
        self.now += seconds
        self.do(self.fleet.tick(self.now))
        if not self.stopped:
            late = [place for place, by in self.told.items() if self.now >= by]
            assert all(self.now < self.aborted[place] for place in late), "late"

    @rule()
    def stop(self):
        if not self.stopped:
            self.stopped = True
            self.fleet.stop()

    @invariant()
    def every_slot_is_served_or_will_be(self):
        """F2."""
        due = self.fleet.next_due()
        for by in {**self.told, **self.aborted}.values() if not self.stopped else ():
            assert due is not None and due <= by, "late"
        for slot in range(self.slots):
            here = [m for m in self.fleet.members() if m.place // 2 == slot]
            assert len(here) <= 2
            assert len({m.place for m in here}) == len(here)
            for stage in (Stage.BOOTING, Stage.SERVING):
                assert sum(m.stage is stage for m in here) <= 1, "F1"
            if not self.stopped:
                coming = any(m.stage is not Stage.LEAVING for m in here)
                assert due is not None or coming or len(here) == 2

    def teardown(self):
        """F3: left alone, every process boots, or leaves if asked to, and no reload is open."""
        if not hasattr(self, "fleet") or self.stopped:
            return
        self.refused = 0
        for _ in range(200):
            self.now += 30
            self.do(self.fleet.tick(self.now))
            for member in self.members(Stage.BOOTING):
                self.do(self.fleet.ready(member.place, self.now))
            for member in self.members(Stage.LEAVING):
                self.gone(member.place, 6)
            moving = self.members(Stage.BOOTING, Stage.RETIRING, Stage.LEAVING)
            if not self.fleet.reloading and not moving and self.fleet.next_due() is None:
                break
        assert not self.fleet.reloading
        assert self.fleet.all_ready()
        assert len(self.fleet.members()) == self.slots
        for slot in range(self.slots):
            newest = self.fleet.newest(slot)
            assert newest is not None and newest.incarnation > self.wanted[slot], "F7"


TestFleets = Fleets.TestCase

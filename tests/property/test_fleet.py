"""The fleet under any order of events: F1 to F3, F5 to F8 of ipckit.server.supervision.fleet, bounded forks, and
a reload that ends."""

from __future__ import annotations

import errno

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipckit.server.shared.exit_codes import EXIT_BOOT_FAILED, EXIT_BROKEN
from ipckit.server.supervision.actions import (
    Abort,
    Flapping,
    Fork,
    GiveUp,
    Kill,
    Leave,
    ReloadBegun,
    ReloadDone,
)
from ipckit.server.supervision.ending import CLOSING_SECONDS, Ending, Step
from ipckit.server.supervision.fleet import DUMP_SECONDS, Fleet
from ipckit.server.supervision.in_order import InOrder
from ipckit.server.supervision.member import Stage

LIMIT = 30.0
"""Seconds for a process to leave."""


class Fleets(RuleBasedStateMachine):
    """The manager's part, without processes: actions are done at once."""

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
        """F3: left alone, every process boots, who was told to leaves, and no reload is open."""
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


def test_five_deaths_before_ready_end_it():
    fleet = Fleet(1, 0, LIMIT)
    (fork,) = fleet.boot()
    now = 0.0
    for death in range(1, 6):
        fleet.forked(fork.place, fork.incarnation, death)
        actions = fleet.died(fork.place, 1, now)
        if death == 5:
            break
        assert actions == []
        now = fleet.next_due()
        (fork,) = fleet.tick(now)
    assert isinstance(actions[0], GiveUp)
    assert now < 10


def test_a_failed_boot_ends_it_at_once_but_not_a_server_that_was_ready():
    fleet = Fleet(1, 0, LIMIT)
    (fork,) = fleet.boot()
    fleet.forked(fork.place, fork.incarnation, 1)
    assert isinstance(fleet.died(fork.place, EXIT_BOOT_FAILED, 0.0)[0], GiveUp)

    fleet = Fleet(1, 0, LIMIT)
    (fork,) = fleet.boot()
    fleet.forked(fork.place, fork.incarnation, 1)
    fleet.ready(fork.place, 0.0)
    (again,) = fleet.died(fork.place, None, 0.0)
    fleet.forked(again.place, again.incarnation, 2)
    assert fleet.died(again.place, EXIT_BOOT_FAILED, 0.0) == []
    assert fleet.next_due() is not None


def test_nothing_is_replaced_after_stop():
    fleet = Fleet(1, 0, LIMIT)
    (fork,) = fleet.boot()
    fleet.forked(fork.place, fork.incarnation, 1)
    fleet.ready(fork.place, 0.0)
    fleet.stop()
    assert fleet.replace(0, 1.0) == []
    assert fleet.reload(1.0, only_task=False) == (False, [])


def test_a_reload_whose_new_process_fails_keeps_the_old_one():
    fleet = Fleet(2, 0, LIMIT)
    for fork in fleet.boot():
        fleet.forked(fork.place, fork.incarnation, fork.place + 1)
        fleet.ready(fork.place, 0.0)
    started, (_, fork) = fleet.reload(1.0, only_task=False)
    assert started
    fleet.forked(fork.place, fork.incarnation, 9)
    assert fleet.died(fork.place, EXIT_BOOT_FAILED, 1.0) == [
        ReloadDone(1, ok=False, place=fork.place)
    ]
    assert not fleet.reloading and fleet.all_ready()


def test_a_ready_one_that_dies_is_followed_at_once_but_ten_times_a_second_at_most():
    """From the promise: at once, 10 forks a second for a slot, no limit in number, and told."""
    fleet = Fleet(1, 0, LIMIT)
    (fork,) = fleet.boot()
    now, forks, told = 0.0, [], []
    while now < 5.0:
        fleet.forked(fork.place, fork.incarnation, 1)
        fleet.ready(fork.place, 0.0)
        now += 0.01
        actions = fleet.died(fork.place, None, now)
        told += [action for action in actions if isinstance(action, Flapping)]
        followers = [action for action in actions if isinstance(action, Fork)]
        if not followers:
            now = fleet.next_due()
            followers = fleet.tick(now)
        (fork,) = followers
        forks.append(now)
    assert forks[:10] == [pytest.approx(0.01 * (n + 1)) for n in range(10)], "at once"
    assert all(later - first >= 1.0 - 1e-9 for first, later in zip(forks, forks[10:], strict=False))
    assert 45 <= len(forks) <= 60
    assert told == [Flapping(0, 6)], "once"


def test_who_dies_now_and_then_is_not_flapping():
    fleet = Fleet(1, 0, LIMIT)
    (fork,) = fleet.boot()
    for turn in range(100):
        fleet.forked(fork.place, fork.incarnation, 1)
        fleet.ready(fork.place, 0.0)
        (fork,) = fleet.died(fork.place, None, turn * 2.0)


def test_after_stop_nothing_is_due():
    """Else the manager would wake for it again and again until the end."""
    fleet = Fleet(1, 0, LIMIT)
    (fork,) = fleet.boot()
    fleet.forked(fork.place, fork.incarnation, 1)
    fleet.died(fork.place, None, 1.0)
    assert fleet.next_due() is not None
    fleet.stop()
    assert fleet.next_due() is None


def boot(fleet):
    """Bring all of it up."""
    for fork in fleet.boot():
        fleet.forked(fork.place, fork.incarnation, 1)
        fleet.ready(fork.place, 0.0)
    assert fleet.all_ready()


def test_a_server_that_was_up_is_never_given_up():
    """One bad worker does not take the others along."""
    fleet = Fleet(2, 0, LIMIT)
    boot(fleet)
    now = 0.0
    (fork,) = fleet.died(0, None, now)
    for _ in range(20):
        fleet.forked(fork.place, fork.incarnation, 1)
        assert fleet.died(fork.place, EXIT_BOOT_FAILED, now) == []
        now = fleet.next_due()
        (fork,) = fleet.tick(now)
    assert now > 60, "it is tried ever more rarely"
    fleet.forked(fork.place, fork.incarnation, 1)
    fleet.ready(fork.place, 0.0)
    assert fleet.all_ready()


def test_one_that_gets_ready_and_dies_again_and_again_ends_a_server_that_was_never_up():
    fleet = Fleet(2, 0, LIMIT)
    first, other = fleet.boot()
    fleet.forked(other.place, other.incarnation, 1)  # it takes its time
    now, fork = 0.0, first
    for death in range(1, 6):
        fleet.forked(fork.place, fork.incarnation, 1)
        fleet.ready(fork.place, 0.0)
        now += 0.1
        actions = fleet.died(fork.place, None, now)
        if death < 5:
            (fork,) = (action for action in actions if isinstance(action, Fork))
    assert isinstance(actions[0], GiveUp)


def test_who_ends_in_order_before_all_are_up_is_no_failure():
    fleet = Fleet(2, 0, LIMIT)
    first, other = fleet.boot()
    fleet.forked(other.place, other.incarnation, 1)
    fork = first
    for turn in range(8):
        fleet.forked(fork.place, fork.incarnation, 1)
        fleet.ready(fork.place, 0.0)
        (fork,) = fleet.died(fork.place, 6, turn * 3.0)


def test_a_broken_end_now_and_then_is_followed_as_soon_as_the_first():
    fleet = Fleet(1, 0, LIMIT)
    boot(fleet)
    pauses = []
    for hour in range(10):
        now = hour * 3600.0
        assert fleet.died(0, EXIT_BROKEN, now) == []
        pauses.append(fleet.next_due() - now)
        (fork,) = fleet.tick(fleet.next_due())
        fleet.forked(fork.place, fork.incarnation, 1)
        fleet.ready(fork.place, 0.0)
    assert pauses == [pytest.approx(0.1)] * 10


def test_a_reload_that_waits_behind_one_that_fails_comes():
    fleet = Fleet(2, 0, LIMIT)
    boot(fleet)
    (began, fork) = fleet.reload(1.0, only_task=False)[1]
    assert began == ReloadBegun(1)
    fleet.forked(fork.place, fork.incarnation, 9)
    assert fleet.reload(1.0, only_task=False) == (False, [])
    done, began, fork = fleet.died(fork.place, EXIT_BOOT_FAILED, 1.0)
    assert (done, began) == (ReloadDone(1, ok=False, place=fork.place), ReloadBegun(2))
    assert isinstance(fork, Fork) and fleet.reloading


@pytest.mark.parametrize("seconds", [LIMIT - 1, LIMIT])
def test_f8_a_reload_names_whom_it_had_to_abort(seconds):
    """F8, F30: not those who left in time."""
    fleet = Fleet(1, 0, LIMIT)
    boot(fleet)
    _, (_, fork) = fleet.reload(0.0, only_task=False)
    fleet.forked(fork.place, fork.incarnation, 9)
    (leave,) = fleet.ready(fork.place, 0.0)
    late = seconds >= LIMIT
    assert fleet.tick(seconds) == ([Abort(leave.place)] if late else [])
    killed = (0,) if late else ()
    assert fleet.died(leave.place, None, seconds) == [ReloadDone(1, ok=True, killed=killed)]
    fleet.stop()
    assert fleet.last_reload == 0


def refuse(fleet, fork, now, code=errno.EAGAIN):
    return fleet.fork_failed(fork.place, "fork: no", code, now)


def test_f3_a_refused_fork_of_a_server_that_is_up_is_tried_for_ever():
    """F3: with growing pauses, whatever the error is, and a process that is made ends the row."""
    for code in (errno.EAGAIN, errno.EPERM):
        fleet = Fleet(2, 0, LIMIT)
        boot(fleet)
        (fork,) = fleet.died(0, None, 0.0)
        now, pauses = 0.0, []
        for _ in range(50):
            assert refuse(fleet, fork, now, code) == []
            pauses.append(fleet.next_due() - now)
            now = fleet.next_due()
            (fork,) = fleet.tick(now)
            assert fork.place == 0
        assert pauses[:6] == pytest.approx([0.1, 0.2, 0.5, 1.0, 2.0, 5.0])
        assert pauses[6:] == pytest.approx([5.0] * 44)
        fleet.forked(fork.place, fork.incarnation, 1)
        fleet.ready(fork.place, now)
        assert fleet.all_ready()


def test_f3_before_the_server_is_up_a_few_attempts_end_it():
    """F3, S3: none of them counts as a fork, and those of other slots do not count."""
    fleet = Fleet(20, 0, LIMIT)
    forks = fleet.boot()
    assert all(refuse(fleet, fork, 0.0) == [] for fork in forks), "20 refusals at one moment"
    now = 0.0
    for attempt in range(2, 6):
        now = fleet.next_due()
        actions = [refuse(fleet, fork, now) for fork in fleet.tick(now) if fork.place == 0]
        assert bool(actions[0]) == (attempt == 5)
    assert isinstance(actions[0][0], GiveUp) and "fork: no" in actions[0][0].why
    fleet = Fleet(1, 0, LIMIT)
    (fork,) = fleet.boot()
    assert isinstance(refuse(fleet, fork, 0.0, errno.EPERM)[0], GiveUp), "it will be so again"


def test_f3_a_reload_whose_forks_are_refused_ends_and_the_old_processes_stay():
    """F3: it is tried a few times before."""
    fleet = Fleet(1, 0, LIMIT)
    boot(fleet)
    _, (_, fork) = fleet.reload(0.0, only_task=False)
    now = 0.0
    for _ in range(4):
        assert refuse(fleet, fork, now) == []
        now = fleet.next_due()
        (fork,) = fleet.tick(now)
    assert refuse(fleet, fork, now) == [ReloadDone(1, ok=False, place=fork.place)]
    assert fleet.all_ready() and not fleet.reloading and fleet.next_due() is None


def test_the_end_goes_step_by_step_whoever_is_left():
    """F38: the workers' end begins at max_wait_time at the latest; the dump is after the closing."""
    end = Ending(1.0)
    assert end.step(5.0, task_workers=True) is None and end.next_due() is None
    end.begin(10.0)
    assert end.step(10.9, task_workers=True) is None
    assert end.step(11.0, task_workers=True) is Step.FINISH
    assert end.step(11.0 + CLOSING_SECONDS - 0.1, task_workers=True) is None
    dumped = 11.0 + CLOSING_SECONDS
    assert end.next_due() == dumped
    assert end.step(dumped, task_workers=True) is Step.DUMP
    assert end.step(dumped + DUMP_SECONDS / 2, task_workers=True) is None
    assert end.step(dumped + DUMP_SECONDS, task_workers=True) is Step.KILL
    assert end.step(dumped + 2 * DUMP_SECONDS, task_workers=False) is Step.KILL


def test_the_workers_end_at_once_where_no_task_worker_is_left():
    end = Ending(1.0)
    end.begin(10.0)
    assert end.step(10.1, task_workers=False) is Step.FINISH
    assert end.next_due() == 11.0 + CLOSING_SECONDS

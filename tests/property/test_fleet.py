"""The fleet under any order of events: F1 to F3, bounded forks, and a reload that ends."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipckit.server.fleet import (
    EXIT_BOOT_FAILED,
    EXIT_BROKEN,
    Fleet,
    Fork,
    GiveUp,
    Leave,
    ReloadDone,
    Stage,
)


class Fleets(RuleBasedStateMachine):
    """The manager's part, without processes: actions are done at once."""

    @initialize(workers=st.integers(1, 3), task_workers=st.integers(0, 2))
    def boot(self, workers, task_workers):
        self.slots = workers + task_workers
        self.workers = workers
        self.fleet = Fleet(workers, task_workers)
        self.now = 0.0
        self.pid = 0
        self.stopped = False
        self.was_ready = False
        self.asked_forks = 0  # for processes that leave or are replaced: not limited
        self.reloaded = False
        self.reload_scope: dict[int, int] | None = None  # slot -> its process at the start
        self.queued: bool | None = None  # only_task of the reload that comes next
        self.do(self.fleet.boot())
        assert self.pid == self.slots

    def do(self, actions):
        for action in actions:
            match action:
                case Fork():
                    assert not self.stopped, "a fork after the stop"
                    assert self.fleet.member(action.place) is None, "F1: the place is taken"
                    here = [m.incarnation for m in self.here(action.place // 2)]
                    assert all(action.incarnation > older for older in here)
                    self.pid += 1
                    self.fleet.forked(action.place, action.incarnation, self.pid)
                case Leave():
                    leaver = self.fleet.member(action.place)
                    successor = self.fleet.serving(action.place // 2)
                    assert leaver is not None and leaver.stage is Stage.LEAVING
                    assert successor is not None, "told to leave, and nobody serves instead"
                    assert successor.incarnation > leaver.incarnation
                case ReloadDone():
                    self.reload_is_done(ok=action.ok)
                case GiveUp():
                    self.stop()

    def do_asked(self, actions):
        self.asked_forks += sum(isinstance(action, Fork) for action in actions)
        self.do(actions)

    def reload_begins(self, *, only_task):
        scope = range(self.workers if only_task else 0, self.slots)
        serving = [self.fleet.serving(slot) for slot in scope]
        self.reload_scope = {m.place // 2: m.incarnation for m in serving if m is not None}

    def reload_is_done(self, *, ok):
        """F3: every process of then has a successor, or one is due."""
        assert self.reload_scope is not None, "it was done before"
        for slot, incarnation in self.reload_scope.items():
            newest = max((m.incarnation for m in self.here(slot)), default=0)
            assert newest > incarnation or not ok
        self.reload_scope = None
        if self.queued is not None:
            only_task, self.queued = self.queued, None
            self.reload_begins(only_task=only_task)

    def here(self, slot):
        return [m for m in self.fleet.members() if m.place // 2 == slot]

    def due(self, slot):
        return self.fleet._slots[slot].due is not None

    def members(self, *stages):
        return [m for m in self.fleet.members() if m.stage in stages]

    @precondition(lambda self: self.members(Stage.BOOTING))
    @rule(data=st.data())
    def ready(self, data):
        member = data.draw(st.sampled_from(self.members(Stage.BOOTING)))
        self.do(self.fleet.ready(member.place))
        assert self.fleet.serving(member.place // 2) is member
        self.was_ready = self.was_ready or self.fleet.all_ready()

    @rule()
    def all_are_ready(self):
        """What most histories begin with."""
        for member in self.members(Stage.BOOTING):
            self.do(self.fleet.ready(member.place))
        self.was_ready = self.was_ready or self.fleet.all_ready()

    @precondition(lambda self: self.members(Stage.SERVING))
    @rule(data=st.data(), gone=st.booleans())
    def leaving(self, data, gone):
        member = data.draw(st.sampled_from(self.members(Stage.SERVING)))
        self.do_asked(self.fleet.leaving(member.place, gone=gone))
        assert self.fleet.leaving(member.place, gone=gone) == [], "said twice"

    @rule(place=st.integers(0, 9))
    def a_late_word_of_somebody_else(self, place):
        """A LEAVING frame of a process that was told to go, or whose place is empty."""
        member = self.fleet.member(place) if place < 2 * self.slots else None
        if place < 2 * self.slots and (member is None or member.stage is Stage.LEAVING):
            assert self.fleet.leaving(place, gone=True) == []

    @precondition(lambda self: self.fleet.members())
    @rule(data=st.data(), code=st.sampled_from([0, 6, None, 1, EXIT_BROKEN, EXIT_BOOT_FAILED]))
    def dies(self, data, code):
        member = data.draw(st.sampled_from(self.fleet.members()))
        first_boot = member.stage is Stage.BOOTING and not (
            self.was_ready or self.stopped or self.reload_scope
        )
        retired = member.stage is not Stage.BOOTING and code in {0, 6}
        actions = self.fleet.died(member.place, code, self.now)
        (self.do_asked if retired else self.do)(actions)
        if first_boot and code == EXIT_BOOT_FAILED:
            assert any(isinstance(action, GiveUp) for action in actions)

    @rule(only_task=st.booleans())
    def reload(self, only_task):
        self.reloaded = True
        running = self.fleet.reloading
        if not running and not self.stopped:
            self.reload_begins(only_task=only_task)
        started, actions = self.fleet.reload(only_task=only_task)
        assert started == (not running and not self.stopped)
        if running and not self.stopped:
            self.queued = only_task if self.queued is None else self.queued and only_task
        self.do(actions)

    @rule(data=st.data())
    def replace(self, data):
        self.do_asked(self.fleet.replace(data.draw(st.integers(0, self.slots - 1))))

    @rule(seconds=st.floats(0, 20))
    def tick(self, seconds):
        self.now += seconds
        self.do(self.fleet.tick(self.now))
        due = self.fleet.next_due()
        assert self.stopped or due is None or due > self.now, "tick would be called for ever"

    @rule()
    def stop(self):
        if not self.stopped:
            self.stopped = True
            self.fleet.stop()
            assert not self.fleet.reloading

    @invariant()
    def every_slot_is_served_or_will_be(self):
        """F1, F2."""
        for slot in range(self.slots):
            here = self.here(slot)
            stages = [m.stage for m in here]
            assert len({m.place for m in here}) == len(here) <= 2
            assert stages.count(Stage.SERVING) <= 1
            if not self.stopped:
                coming = Stage.BOOTING in stages or Stage.SERVING in stages
                assert coming or self.due(slot) or len(here) == 2

    @invariant()
    def it_does_not_fork_for_ever(self):
        if not self.was_ready and not self.reloaded:
            assert self.pid - self.asked_forks <= 12

    @invariant()
    def a_reload_runs_until_it_is_done(self):
        assert self.stopped or self.fleet.reloading == (self.reload_scope is not None)

    def teardown(self):
        """F3: left alone, every process boots, who was told to leaves, and no reload is open."""
        if not hasattr(self, "fleet") or self.stopped:
            return
        for _ in range(200):
            self.now += 30
            self.do(self.fleet.tick(self.now))
            for member in self.members(Stage.BOOTING):
                self.do(self.fleet.ready(member.place))
            for member in self.members(Stage.LEAVING):
                self.do(self.fleet.died(member.place, 6, self.now))
            if not self.fleet.reloading and not self.members(Stage.BOOTING, Stage.LEAVING):
                break
        assert not self.fleet.reloading
        assert self.reload_scope is None and self.queued is None
        assert self.fleet.all_ready()
        assert len(self.fleet.members()) == self.slots
        assert self.fleet.next_due() is None


TestFleets = Fleets.TestCase


def test_five_deaths_before_ready_end_it():
    fleet = Fleet(1, 0)
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
    fleet = Fleet(1, 0)
    (fork,) = fleet.boot()
    fleet.forked(fork.place, fork.incarnation, 1)
    assert isinstance(fleet.died(fork.place, EXIT_BOOT_FAILED, 0.0)[0], GiveUp)

    fleet = Fleet(1, 0)
    (fork,) = fleet.boot()
    fleet.forked(fork.place, fork.incarnation, 1)
    fleet.ready(fork.place)
    (again,) = fleet.died(fork.place, None, 0.0)
    fleet.forked(again.place, again.incarnation, 2)
    assert fleet.died(again.place, EXIT_BOOT_FAILED, 0.0) == []
    assert fleet.next_due() is not None


def test_a_reload_whose_new_process_fails_keeps_the_old_one():
    fleet = Fleet(2, 0)
    for fork in fleet.boot():
        fleet.forked(fork.place, fork.incarnation, fork.place + 1)
        fleet.ready(fork.place)
    started, (fork,) = fleet.reload(only_task=False)
    assert started
    fleet.forked(fork.place, fork.incarnation, 9)
    assert fleet.died(fork.place, EXIT_BOOT_FAILED, 1.0) == [ReloadDone(ok=False)]
    assert not fleet.reloading and fleet.all_ready()


def test_a_reload_that_was_asked_for_meanwhile_comes_after_a_failed_one():
    """Perhaps with the code mended."""
    fleet = Fleet(1, 1)
    for fork in fleet.boot():
        fleet.forked(fork.place, fork.incarnation, fork.place + 1)
        fleet.ready(fork.place)
    _, (fork,) = fleet.reload(only_task=False)
    fleet.forked(fork.place, fork.incarnation, 8)
    assert fleet.reload(only_task=True) == (False, [])
    done, again = fleet.died(fork.place, EXIT_BOOT_FAILED, 1.0)
    assert done == ReloadDone(ok=False)
    assert isinstance(again, Fork) and again.place // 2 == 1, "only the task worker"


def test_slow_deaths_before_ready_end_it_too():
    """Never five within ten seconds, and never more than twelve forks."""
    fleet = Fleet(6, 0)
    forks = 0
    now = 0.0
    actions = fleet.boot()
    while not any(isinstance(action, GiveUp) for action in actions):
        for action in actions:
            forks += 1
            fleet.forked(action.place, action.incarnation, forks)
        booting = [m.place for m in fleet.members() if m.stage is Stage.BOOTING]
        now += 30
        actions = []
        for place in booting[:4]:  # all at once
            actions += fleet.died(place, None, now)
        if not actions:
            actions = fleet.tick(now + 6)
    assert 6 < forks <= 12


def test_deaths_that_are_far_apart_do_not_end_it():
    fleet = Fleet(1, 0)
    (fork,) = fleet.boot()
    fleet.forked(fork.place, fork.incarnation, 1)
    for death in range(11):
        assert fleet.died(fork.place, None, 30.0 * death) == []
        (fork,) = fleet.tick(30.0 * death + 6)
        fleet.forked(fork.place, fork.incarnation, death + 2)
    assert isinstance(fleet.died(fork.place, None, 1000.0)[0], GiveUp)


def test_pauses_between_tries_grow():
    fleet = Fleet(1, 0)
    (fork,) = fleet.boot()
    fleet.forked(fork.place, fork.incarnation, 1)
    fleet.ready(fork.place)
    now, pauses = 100.0, []
    (fork,) = fleet.died(fork.place, None, now)
    for _ in range(8):
        fleet.forked(fork.place, fork.incarnation, 1)
        assert fleet.died(fork.place, None, now) == []
        pauses.append(round(fleet.next_due() - now, 3))
        assert fleet.tick(now + 0.05) == []
        (fork,) = fleet.tick(fleet.next_due())
        now += 10
    assert pauses == [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0]


def test_who_retires_before_all_are_ready_does_not_end_it():
    """One slot serves and retires again and again while the other one takes its time."""
    fleet = Fleet(2, 0)
    for fork in fleet.boot():
        fleet.forked(fork.place, fork.incarnation, 1)
    fleet.ready(0)
    for _ in range(50):
        (fork,) = fleet.died(0, 6, 0.0)
        fleet.forked(fork.place, fork.incarnation, 1)
        fleet.ready(0)


def test_who_crashes_again_and_again_before_all_are_ready_ends_it():
    """After it was ready, but the server was not."""
    fleet = Fleet(2, 0)
    for fork in fleet.boot():
        fleet.forked(fork.place, fork.incarnation, 1)
    for forks in range(3, 20):
        fleet.ready(0)
        (action,) = fleet.died(0, None, float(forks))
        if isinstance(action, GiveUp):
            break
        fleet.forked(action.place, action.incarnation, 1)
    assert forks == 13

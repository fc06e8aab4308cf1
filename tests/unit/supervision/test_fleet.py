"""The decisions of the fleet and of the end, example by example: deaths, reloads, refused forks."""

from __future__ import annotations

import errno

import pytest

from ipckit.server.shared.exit_codes import EXIT_BOOT_FAILED, EXIT_BROKEN
from ipckit.server.supervision.actions import Abort, Flapping, Fork, GiveUp, ReloadBegun, ReloadDone
from ipckit.server.supervision.ending import CLOSING_SECONDS, Ending, Step
from ipckit.server.supervision.fleet import DUMP_SECONDS, Fleet

LIMIT = 30.0


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
    """The promise: without delay, 10 forks a second for a slot, no limit in number, a report."""
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

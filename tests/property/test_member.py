"""The life of a process is a table; the fleet moves a process as the table says, pair by pair."""

from __future__ import annotations

import itertools

import pytest

from ipckit.server.supervision.actions import Fork
from ipckit.server.supervision.fleet import Fleet
from ipckit.server.supervision.member import LIFE, Event, Member, Stage

PAIRS = list(itertools.product(Stage, Event))
NEVER = {(Stage.GONE, event) for event in Event} | {(Stage.BOOTING, Event.REPLACED)}
NOW = 100.0
LEAVE_WITHIN = 3.0


def fleet_at(stage: Stage) -> tuple[Fleet, Member]:
    """Return a fleet of one worker, whose first process is at this stage."""
    fleet = Fleet(1, 0, LEAVE_WITHIN)
    (fork,) = fleet.boot()
    assert isinstance(fork, Fork)
    fleet.forked(fork.place, fork.incarnation, 1000)
    member = fleet.member(fork.place)
    assert member is not None
    if stage is not Stage.BOOTING:
        fleet.ready(fork.place, NOW)
    if stage in (Stage.RETIRING, Stage.LEAVING):
        fleet.leaving(fork.place, NOW, gone=stage is Stage.LEAVING)
    assert member.stage is stage
    return fleet, member


def happen(fleet: Fleet, member: Member, event: Event) -> None:
    match event:
        case Event.READY:
            fleet.ready(member.place, NOW)
        case Event.ASKS | Event.GOES:
            fleet.leaving(member.place, NOW, gone=event is Event.GOES)
        case Event.REPLACED:
            fleet.forked(member.place ^ 1, member.incarnation + 1, 1001)
            fleet.ready(member.place ^ 1, NOW)
        case Event.DIED:
            fleet.died(member.place, 6, NOW)


def test_every_pair_is_in_the_table_or_never_happens():
    assert {pair for pair in PAIRS if pair not in LIFE} == NEVER
    assert not {pair for pair in LIFE if pair not in PAIRS}


@pytest.mark.parametrize(("stage", "event"), sorted(NEVER, key=str))
def test_what_never_happens_is_refused_and_changes_nothing(stage, event):
    member = Member(0, 1, 1000, stage)
    with pytest.raises(KeyError):
        member.move(event)
    assert member.stage is stage


@pytest.mark.parametrize(("stage", "event"), [pair for pair in PAIRS if pair not in NEVER])
def test_the_fleet_moves_a_process_as_the_table_says(stage, event):
    fleet, member = fleet_at(stage)
    happen(fleet, member, event)
    after = LIFE[stage, event]
    assert member.stage is after
    assert (fleet.member(member.place) is member) == (after is not Stage.GONE)
    assert (fleet.serving(0) is member) == (after is Stage.SERVING)
    assert (fleet.newest(0) is member) == (after in (Stage.BOOTING, Stage.SERVING))
    if after is Stage.LEAVING:
        assert member.leave_by == NOW + LEAVE_WITHIN, "F6"


@pytest.mark.parametrize("stage", [Stage.BOOTING, Stage.SERVING, Stage.RETIRING, Stage.LEAVING])
@pytest.mark.parametrize("event", [Event.ASKS, Event.GOES])
def test_a_process_that_wants_to_go_gets_one_replacement(stage, event):
    """F2: one is forked now, or was forked before; for a process that boots, when it serves."""
    fleet, member = fleet_at(stage)
    actions = fleet.leaving(member.place, NOW, gone=event is Event.GOES)
    assert actions == ([Fork(1, 2)] if stage is Stage.SERVING else [])
    if stage is Stage.BOOTING:
        assert Fork(1, 2) in fleet.ready(member.place, NOW)

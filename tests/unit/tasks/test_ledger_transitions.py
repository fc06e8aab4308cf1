"""The state machine of a task: every state with every call by every kind of process, on a real ledger."""

from __future__ import annotations

import contextlib
import mmap

import pytest

from ipckit._core import _ledger

SHAPE = (2, 64, 1, 1, 2)
SUBMITTER, TAKER, MANAGER = 0, 2, 4
NOBODY = 1  # a place without a process
KEY, FAR = 7, 2**62
STATES = [name for name in _ledger.__dict__ if name.isupper()]
STATES = sorted(STATES[: STATES.index("CLEARING") + 1], key=_ledger.__dict__.get)
CALLS = sorted({call for call, *_ in _ledger.TRANSITIONS})


class World:
    """A ledger of two records. `state` brings a task into a state: its record."""

    def __init__(self):
        self.memory = mmap.mmap(-1, _ledger.size_of(*SHAPE))
        _ledger.lay_out(self.memory, *SHAPE)
        self.views = {place: _ledger.Ledger(self.memory, place, [-1] * 5) for place in (0, 2, 4)}

    def word(self, record):
        """What no refused call may change: state, owner, attempt."""
        return self.views[MANAGER].look(record)[1:4]

    def bring_to(self, state):
        submitter, taker, _ = self.views.values()
        if state == "FREE":
            return 0
        record, _ = submitter.take()
        if state == "WRITING":
            return record
        if state == "BLOCKED":
            submitter.order(record, KEY)
            submitter.publish(record, -1, 0)
            record, _ = submitter.take()
            submitter.order(record, KEY)
        submitter.flag(record, _ledger.WANTED, 0)
        submitter.publish(record, -1, FAR if state == "DELAYED" else 0)
        if state in ("BLOCKED", "DELAYED", "QUEUED"):
            return record
        assert taker.claim()[0] == record
        if state == "RUNNING":
            return record
        if state == "BURIED":
            assert taker.bury(record)
            return record
        assert taker.done(record) == 0
        if state == "DONE":
            return record
        assert submitter.collect(1) == 1
        if state == "CLEARING":
            assert submitter.end(record)
        return record


def let_through(world, view, record):
    """Any process that finds the gate free does it; here who sweeps a place without a process."""
    for other in range(SHAPE[0]):
        if other != record and world.word(other)[0] == _ledger.QUEUED:
            assert world.views[TAKER].claim()[0] == other
            assert world.views[TAKER].done(other) == 0
    view.sweep(NOBODY)


def sweep(world, view, record):
    view.sweep(max(world.word(record)[1], 0))


CALL = {
    "take": lambda world, view, record: list(iter(view.take, None)),  # every one there is
    "publish": lambda world, view, record: view.publish(record, -1, 0),
    "let through": let_through,
    "wake due": lambda world, view, record: view.wake_due(FAR),
    "claim": lambda world, view, record: view.claim(),
    "begin": lambda world, view, record: view.begin(record, -1, SUBMITTER),
    "done": lambda world, view, record: view.done(record),
    "retry": lambda world, view, record: view.retry(record, 0),
    "bury": lambda world, view, record: view.bury(record),
    "written down": lambda world, view, record: view.written_down(record),
    "collect": lambda world, view, record: view.collect(1),
    "end": lambda world, view, record: view.end(record),
    "clear": lambda world, view, record: view.clear(record),
    "sweep": sweep,
}
WHO = {
    "anybody": lambda place, owner: True,
    "submitter": lambda place, owner: place == SUBMITTER,
    "task worker": lambda place, owner: place == TAKER,
    "owner": lambda place, owner: place in (owner, MANAGER),
    "manager": lambda place, owner: place == MANAGER,
}


def test_the_table_names_every_call():
    assert sorted(CALL) == CALLS
    assert len(STATES) == 10


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("state", STATES)
def test_a_call_does_what_the_table_says_or_nothing(state, call):
    """A row of the table for this state: one of its states. No row, or another process: no change."""
    rows = [row[1:] for row in _ledger.TRANSITIONS if row[0] == call]
    number = getattr(_ledger, state)
    for place in (SUBMITTER, TAKER, MANAGER):
        if call == "sweep" and place != MANAGER:
            continue  # nobody else has such a call
        world = World()
        record = world.bring_to(state)
        before = world.word(record)
        assert before[0] == number
        view = world.views[place]
        assert view.next(record, number, -1) == record  # it has the word as it is now
        with contextlib.suppress(ValueError):
            CALL[call](world, view, record)
        after = world.word(record)
        allowed = [
            set(to) for who, since, to in rows if number in since and WHO[who](place, before[1])
        ]
        if not allowed:
            assert after == before, f"{place} changed it"
            continue
        (to,) = allowed
        # A task that needs nothing cleared is FREE when the call returns.
        to |= {_ledger.FREE} if _ledger.CLEARING in to else set()
        assert after[0] in to
        assert after != before
        assert world.views[MANAGER].verify() is None

"""Which workers are told that they hang, and when."""

from __future__ import annotations

import signal

from ipckit.server.beat import Hangs

ABRT, KILL = signal.SIGABRT, signal.SIGKILL


def signals(hangs, now, beats):
    return [(place, number) for place, number, _ in hangs.look(now, beats)]


def test_a_silent_one_is_dumped_then_killed_once():
    hangs = Hangs(2.0)
    assert signals(hangs, 12.0, {0: 10.0, 2: 11.9}) == [], "exactly the timeout is in time"
    assert signals(hangs, 12.1, {0: 10.0, 2: 11.9}) == [(0, ABRT)]
    assert signals(hangs, 12.5, {0: 10.0, 2: 11.9}) == []
    assert hangs.next_due(12.5) == 12.6
    assert signals(hangs, 12.6, {0: 10.0, 2: 11.9}) == [(0, KILL)]
    assert signals(hangs, 13.0, {0: 10.0, 2: 11.9}) == []
    assert signals(hangs, 14.0, {0: 13.5, 2: 11.9}) == [(2, ABRT)], "0 is a new process"


def test_one_that_beats_again_is_forgotten():
    hangs = Hangs(1.0)
    assert signals(hangs, 2.0, {4: 0.5}) == [(4, ABRT)]
    assert signals(hangs, 9.0, {4: 8.5}) == []
    assert signals(hangs, 10.0, {4: 8.5}) == [(4, ABRT)]


def test_it_is_off_without_a_timeout():
    hangs = Hangs(None)
    assert hangs.next_due(1.0) is None
    assert hangs.look(1000.0, {0: 1.0}) == []

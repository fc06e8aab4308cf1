"""Which workers are found to hang, and when."""

from __future__ import annotations

import signal

from ipckit.server.supervision.watchdog import Watchdog

ABRT, KILL = signal.SIGABRT, signal.SIGKILL


def signals(hangs, now, beats):
    return [(place, number) for place, number, _ in hangs.look(now, beats)]


def test_a_silent_one_is_dumped_then_killed_once():
    hangs = Watchdog(2.0)
    assert signals(hangs, 12.0, {0: 10.0, 2: 11.9}) == [], "exactly the timeout is in time"
    assert signals(hangs, 12.1, {0: 10.0, 2: 11.9}) == [(0, ABRT)]
    assert signals(hangs, 12.5, {0: 10.0, 2: 11.9}) == []
    assert hangs.next_due(12.5) == 12.6
    assert signals(hangs, 12.6, {0: 10.0, 2: 11.9}) == [(0, KILL)]
    assert signals(hangs, 13.0, {0: 10.0, 2: 11.9}) == []
    assert signals(hangs, 14.0, {0: 13.5, 2: 11.9}) == [(2, ABRT)], "0 is a new process"


def test_one_that_beats_again_is_forgotten():
    hangs = Watchdog(1.0)
    assert signals(hangs, 2.0, {4: 0.5}) == [(4, ABRT)]
    assert signals(hangs, 2.4, {4: 2.3}) == []
    assert signals(hangs, 2.9, {4: 2.3}) == []
    assert signals(hangs, 3.4, {4: 2.3}) == [(4, ABRT)]


def test_nobody_hangs_because_the_manager_was_away():
    """SIGSTOP and SIGCONT of all of them, or a machine that was paused."""
    hangs = Watchdog(2.0)
    assert hangs.look(10.0, {0: 9.9}) == []
    assert hangs.look(100.0, {0: 10.3}) == []
    for tenth in range(1, 20):
        assert hangs.look(100.0 + tenth / 10, {0: 10.3}) == []
    (found,) = hangs.look(102.1, {0: 10.3})
    assert (found.place, found.signal) == (0, ABRT), "it has not beaten since either"


def test_it_is_off_without_a_timeout():
    hangs = Watchdog(None)
    assert hangs.next_due(1.0) is None
    assert hangs.look(1000.0, {0: 1.0}) == []

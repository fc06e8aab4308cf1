"""The verdict on an object, and which object a name means."""

from __future__ import annotations

import pytest

from ipckit import NotFound
from ipckit.cli.inventory.entry import Entry, Run, find, judged

THING = {"queue": 7, "key": 0, "uid": 0, "changed_at": 1}
SEGMENT = {"segment": "/dev/shm/ipckit.visits", "inode": 1}


def entry(name="queue:7", thing=THING, users=(), **more) -> Entry:
    return Entry(name, "System V queue", 0, 0o600, 0, "", thing, users, **more)


def run(manager, *things, alive=False) -> Run:
    return Run(manager, alive, things)


@pytest.mark.parametrize(
    ("users", "runs", "verdict"),
    [
        ((), [], "idle"),
        ((5,), [], "used"),
        ((), [run(1, THING)], "leaked"),
        ((5,), [run(1, THING)], "leaked"),
        ((), [run(1, {**THING, "kept": True})], "kept"),
        ((), [run(1, {**THING, "kept": True}), run(2, THING, alive=True)], "used"),
        ((), [run(2, THING, alive=True), run(1, {**THING, "kept": True})], "used"),
        ((), [run(1, {**THING, "queue": 8}), run(2, SEGMENT, alive=True)], "idle"),
    ],
)
def test_the_verdict_on_a_queue(users, runs, verdict):
    found = judged(entry(users=users), runs)
    assert found.verdict == verdict
    assert found.ours == (found.manager is not None) == (verdict != "idle" and bool(runs))


def test_memory_that_a_live_process_has_is_never_leaked():
    runs = [run(1, {**SEGMENT, "kept": True})]
    assert judged(entry(thing=SEGMENT, users=(5,)), runs).verdict == "used"
    assert judged(entry(thing=SEGMENT), runs).verdict == "kept"


def test_what_is_known_without_a_record_is_kept_in_mind():
    assert judged(entry(verdict="leaked"), []).verdict == "leaked"
    assert judged(entry(verdict="leaked", users=(5,)), []).verdict == "used"


def test_a_short_name_means_one_object_or_none():
    entries = [
        entry("queue:7"),
        entry("shm:7"),
        entry("table:visits"),
        entry("/dev/shm/sem.one"),
        entry("mqueue:/jobs"),
    ]
    for name, whole in (
        ("queue:7", "queue:7"),
        ("visits", "table:visits"),
        ("sem.one", "/dev/shm/sem.one"),
        ("/jobs", "mqueue:/jobs"),
        ("jobs", "mqueue:/jobs"),
    ):
        assert find(name, entries).name == whole
    with pytest.raises(NotFound, match="any of queue:7, shm:7: say which"):
        find("7", entries)
    with pytest.raises(NotFound, match="no 'visit'"):
        find("visit", entries)

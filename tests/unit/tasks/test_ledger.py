"""The task ledger from Python: bodies of any size, room, keys, and what others may not see."""

from __future__ import annotations

import mmap
import os
import time

import pytest

from ipckit._core import _ledger
from ipckit.errors import SegmentCorrupt
from ipckit.server.config.settings import Settings
from ipckit.server.shared.histogram import BUCKETS, upper_bound
from ipckit.server.shared.scoreboard import Row, Scoreboard
from ipckit.server.tasks.ledger import FILES, TaskLedger
from ipckit.server.tasks.named_ledger import tasks_in
from ipckit.server.tasks.retry_policy import Failure
from ipckit.server.tasks.spill import note_name

TAKER = 2  # the first place of the one task worker


@pytest.fixture
def ledger(tmp_path):
    made = TaskLedger(settings(tmp_path))
    yield made
    assert made.overview.verify() is None
    made.destroy()


def settings(tmp_path, **changes):
    few = {"worker_num": 1, "task_worker_num": 1, "task_queue_size": 4, "task_memory": 16384}
    return Settings(**{**few, "runtime_dir": str(tmp_path), **changes})


def ends_of(submitter):
    """What a worker would get, without a `finish` callback."""
    found = []
    assert submitter.collect(10) > 0
    while (end := submitter.deliver(None, None, bytes, {})) is not None:
        assert end[0] == _ledger.UNTOLD
        found.append(end[1:])
    return found


def run_one(ledger, taker, answer):
    record, task_id, attempt, *_, body, _, _ = taker.claim()
    ledger.put_result(taker, record, task_id, attempt, answer)
    assert taker.done(record) == 0
    return task_id, body


@pytest.mark.parametrize("memory", [16_384, 16 * _ledger.SLAB])
@pytest.mark.parametrize("size", [0, 1, 152, 153, 4096, 4097, 131_072, 131_073])
def test_a_result_of_any_size_comes_back(tmp_path, size, memory):
    ledger = TaskLedger(settings(tmp_path, task_memory=memory))
    submitter, taker = ledger.view(0), ledger.view(TAKER)
    assert submitter.submit(b"data", -1, True) == 1
    answer = os.urandom(size)
    assert run_one(ledger, taker, answer) == (1, b"data")
    ((record, task_id, flags, attempt, result, length),) = ends_of(submitter)
    assert (task_id, attempt, length) == (1, 1, size)
    if size > (_ledger.SLAB if memory > _ledger.SLAB else _ledger.INSIDE):
        assert flags & _ledger.RESULT_SPILLED and result is None
        assert ledger.spill.read(f"result-{task_id}-{attempt}", length) == answer
    else:
        assert result == answer
    assert submitter.end(record)
    ledger.remove_files(task_id, attempt)
    submitter.clear(record)
    assert os.listdir(ledger.spill.path) == []
    assert ledger.overview.totals() == ((4, *[0] * 9), 1, 0, 0, 0)
    assert ledger.overview.verify() is None
    ledger.destroy()


def test_long_bodies_lie_in_files_when_the_slabs_are_taken(tmp_path):
    ledger = TaskLedger(settings(tmp_path, task_memory=16 * _ledger.SLAB))  # an eighth: two slabs
    submitter, taker = ledger.view(0), ledger.view(TAKER)
    bodies = [os.urandom(size) for size in (100_000, 5000)]
    ids = [submitter.submit(body, -1, False) for body in bodies]
    assert ids == [1, 2] and submitter.submit(bodies[0], -1, False) == -2
    record, task_id, attempt, *_, body, _, _ = taker.claim()
    assert body == bodies[0]
    answer = os.urandom(50_000)
    assert not taker.put_result(record, answer)
    assert taker.done_with(record, answer) == -2, "it still runs"
    ledger.put_result(taker, record, task_id, attempt, answer)
    assert os.listdir(ledger.spill.path) == [f"result-{task_id}-{attempt}"]
    assert taker.done(record) == 0
    ((record, *_, result, length),) = ends_of(submitter)
    assert (result, length) == (None, 50_000)
    assert submitter.end(record)
    ledger.remove_files(task_id, attempt)
    submitter.clear(record)
    assert submitter.submit(bodies[0], -1, False) > 0, "its slab is free again"
    ledger.destroy()


def test_records_and_bytes_run_out_each_by_itself(ledger):
    submitter = ledger.view(0)
    for _ in range(4):
        assert submitter.submit(b"x" * 4096, -1, False) > 0
    assert submitter.submit(b"", -1, False) == -1
    assert submitter.take() is None
    taker = ledger.view(TAKER)
    record = taker.claim()[0]
    assert taker.done(record) == 0, "nobody waits for it: it is gone at once"
    assert submitter.submit(b"x" * 4096, -1, False) > 0


def test_the_arena_is_bounded(tmp_path):
    ledger = TaskLedger(settings(tmp_path, task_memory=4096))
    submitter = ledger.view(0)
    assert submitter.submit(b"x" * 4000, -1, False) > 0
    assert submitter.submit(b"x" * 4000, -1, False) == -2
    assert submitter.submit(b"x" * 100, -1, False) > 0
    ledger.destroy()


def test_steps_that_come_too_late_are_refused(ledger):
    submitter, taker, row = (
        ledger.view(0),
        ledger.view(TAKER),
        memoryview(bytearray(1024)).cast("Q"),
    )
    submitter.submit(b"data", -1, True)
    record = taker.claim()[0]
    assert ledger.overview.next(0, _ledger.RUNNING, TAKER) == record
    assert ledger.attempt_failed(ledger.overview, row, record, 1, 1, Failure("E: text"))
    assert (row[Row.TASKS_FAILED], row[Row.TASKS_RETRIED]) == (1, 1)
    assert taker.done(record) == -1
    assert not ledger.attempt_failed(taker, row, record, 1, 1, Failure("E: text"))
    assert (row[Row.TASKS_FAILED], row[Row.TASKS_RETRIED]) == (1, 1)
    assert not taker.end(record)
    assert ledger.failure_of(1, 1).error == "E: text"
    assert ledger.failure_of(1, 2).error == "the reason was not kept"


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"unknown": 1}', b"\xff\xfe\xfd"])
def test_a_note_that_somebody_spoiled_is_no_note(ledger, note):
    """F1, D14: the task goes on, without the reason of that attempt."""
    ledger.spill.write(note_name(1, 1), note)
    assert ledger.failure_of(1, 1).error == "the reason was not kept"


@pytest.mark.parametrize("argument", [-1, 4, 2**32, 2**70, "0", None])
def test_a_record_that_is_not_there(ledger, argument):
    with pytest.raises((ValueError, OverflowError, TypeError)):
        ledger.overview.look(argument)


def test_what_is_no_ledger_is_refused(ledger):
    with pytest.raises(ValueError, match="no task ledger"):
        _ledger.Ledger(mmap.mmap(-1, 4096), 0, [])
    with pytest.raises(ValueError, match="5 descriptors"):
        _ledger.Ledger(ledger._memory, 0, [1, 2])
    with pytest.raises(ValueError, match=r"place 5: must be 0\.\.4"):
        ledger.view(5)
    with pytest.raises(ValueError, match="no ledger has 0 records"):
        _ledger.size_of(0, 1, 1, 1, 0)


def test_attempts_are_counted_where_one_asks_for_it_before_their_end_is_told(ledger):
    submitter, taker = ledger.view(0), ledger.view(TAKER)
    row = memoryview(bytearray(32)).cast("Q")
    taker.account(row, 1, 2, 3)
    with pytest.raises(ValueError, match="already"):
        taker.account(row, 1, 2, 3)
    for _ in range(4):
        submitter.submit(b"data", -1, True)
    for count, end in enumerate(("done", "done_with", "retry", "bury"), 1):
        record, *_, began = taker.claim()
        assert row[1] == began
        arguments = {"done_with": (b"x",), "retry": (time.monotonic_ns() + 10**12,)}
        getattr(taker, end)(record, *arguments.get(end, ()))
        assert row[1] == 0
        assert row[2] == count
    assert 0 < row[3] < time.monotonic_ns() - began + 10**9
    assert row[0] == 0
    with pytest.raises(IndexError, match="no word 4"):
        ledger.view(TAKER).account(row, 1, 2, 4)


@pytest.mark.parametrize("power", range(10, 35, 3))
def test_an_attempt_is_in_the_bucket_of_its_time(ledger, power):
    submitter, taker = ledger.view(0), ledger.view(TAKER)
    board = Scoreboard(slots=2, sessions=4)
    row = board.row(1, 0)
    taker.account(row, Row.BUSY_SINCE, Row.TASKS, Row.TASK_NS)
    submitter.submit(b"", -1, False)
    record, *_ = taker.claim()
    at_least = 5 << power - 2  # the second quarter of this power
    row[Row.BUSY_SINCE] = time.monotonic_ns() - at_least
    taker.done(record)
    took = row[Row.TASK_NS]
    times = board.times(range(1, 2))
    assert sum(times) == 1 and not any(board.times(range(1)))
    bucket = times.index(1)
    assert upper_bound(bucket) * 1e9 > took or bucket == BUCKETS - 1
    assert bucket == 0 or upper_bound(bucket - 1) * 1e9 <= took
    assert board.times(range(1, 2))[bucket] == 1 and not any(board.times(range(1)))


def test_after_a_spin_in_vain_it_rests_and_then_spins_again(ledger):
    submitter, taker = ledger.view(0), ledger.view(TAKER)
    assert not taker.spin(1000)
    for _ in range(16):
        assert not taker.spin(10**12), "a spin would take 17 minutes"
    assert submitter.submit(b"data", -1, False) == 1
    assert taker.spin(10**12), "it spins again, and finds what is there"
    run_one(ledger, taker, b"")
    ((record, *_),) = ends_of(submitter)
    submitter.release(record)


@pytest.mark.parametrize("died", [False, True])
def test_a_small_result_after_a_large_one_of_an_attempt_that_failed(tmp_path, died):
    """F15: the flag of a result in a file belongs to its attempt; the file goes with the task."""
    ledger = TaskLedger(settings(tmp_path))
    submitter, taker, manager = ledger.view(0), ledger.view(TAKER), ledger.overview
    row = memoryview(bytearray(1024)).cast("Q")
    submitter.submit(b"data", -1, True)
    record, task_id, attempt, *_ = taker.claim()
    ledger.put_result(taker, record, task_id, attempt, b"x" * 100_000)
    if died:
        manager.sweep(TAKER)
        record = manager.next(0, _ledger.RUNNING, TAKER)
    by = manager if died else taker
    assert ledger.attempt_failed(by, row, record, task_id, attempt, Failure("E: text"))
    manager.wake_due(1 << 62)
    record, task_id, attempt, *_ = taker.claim()
    assert attempt == 2 and taker.done_with(record, b"small") == 0
    ((record, task_id, flags, attempt, result, length),) = ends_of(submitter)
    assert (result, length) == (b"small", 5) and not flags & _ledger.RESULT_SPILLED
    assert "result-1-1" in os.listdir(ledger.spill.path) and flags & FILES
    assert submitter.end(record)
    ledger.remove_files(task_id, attempt)
    submitter.clear(record)
    assert os.listdir(ledger.spill.path) == []
    assert manager.verify() is None
    ledger.destroy()


def test_a_result_in_a_file_leaves_its_flag_without_a_note():
    """F15: as above, where no note says that an attempt failed: the core alone keeps the file."""
    shape = (8, 4, 1, 1, 0)
    memory = mmap.mmap(-1, _ledger.size_of(*shape))
    _ledger.lay_out(memory, *shape)
    submitter, taker, manager = (_ledger.Ledger(memory, at, [-1] * 5) for at in (0, TAKER, 4))
    submitter.submit(b"data", -1, True)
    taker.spill_result(taker.claim()[0], 9_000_000)
    manager.sweep(TAKER)
    assert manager.retry(manager.next(0, _ledger.RUNNING, TAKER), 0)
    assert taker.done_with(taker.claim()[0], b"small") == 0
    ((_, _, flags, attempt, result, _),) = ends_of(submitter)
    assert (attempt, result) == (2, b"small")
    assert flags & FILES == _ledger.NOTED, "the file is removed when the task is over"
    assert manager.verify() is None


@pytest.mark.parametrize("content", [b"", b"x", bytes(1 << 16)])
def test_a_file_that_is_no_ledger_holds_no_tasks(tmp_path, content):
    (tmp_path / "ledger").write_bytes(content)
    with pytest.raises(SegmentCorrupt):
        tasks_in(str(tmp_path / "ledger"))

"""An attempt, a post and an end in one C call each: what is done there and what is left to Python."""

from __future__ import annotations

import gc
import pickle
import sys
import time

import pytest

from ipckit._core import _ledger
from ipckit.server.config.settings import Settings
from ipckit.server.tasks.ledger import TaskLedger

TAKER = 2  # the first place of the one task worker
FOREVER = 2**62
ENCODE = pickle.dumps, pickle.HIGHEST_PROTOCOL


class Unpicklable:
    def __reduce__(self):
        raise ValueError("not this one")


class Explodes:
    """Pickled as a call that raises when it is read."""

    def __reduce__(self):
        return int, ("no number",)


@pytest.fixture
def ledger(tmp_path):
    made = TaskLedger(
        Settings(
            worker_num=1,
            task_worker_num=1,
            task_queue_size=4,
            task_memory=16384,
            runtime_dir=str(tmp_path),
        )
    )
    yield made
    assert made.overview.verify() is None
    made.destroy()


@pytest.fixture
def submitter(ledger):
    return ledger.view(0)


@pytest.fixture
def taker(ledger):
    return ledger.view(TAKER)


def run(taker, callback, until=FOREVER):
    return taker.run(callback, "server", pickle.loads, *ENCODE, until)


def hear(submitter, finish, waiters=None):
    return submitter.deliver(finish, "server", pickle.loads, {} if waiters is None else waiters)


def post(submitter, data):
    return submitter.post(data, *ENCODE)


def test_a_task_goes_there_and_back(submitter, taker):
    seen = []
    assert post(submitter, {"n": 1}) == 1
    assert run(taker, lambda *args: seen.append((args, taker.in_hand()[:3])) or "done") is True
    assert seen == [(("server", 1, 0, {"n": 1}), (0, 1, 1))]
    assert taker.in_hand() is None
    assert submitter.collect(10) == 1
    assert hear(submitter, lambda *args: seen.append(args)) is None
    assert seen[1] == ("server", 1, "done")
    assert submitter.outstanding() == 0 and submitter.collect(10) == 0
    assert run(taker, print) is None, "there is none left"


def test_the_time_is_over_when_a_task_begins_too_late(submitter, taker):
    post(submitter, 1)
    assert run(taker, lambda *_: None, until=time.monotonic_ns()) is False
    assert submitter.collect(10) == 0, "no result: nobody is told"
    assert submitter.outstanding() == 0


def test_nothing_is_posted_that_cannot_be_encoded(submitter):
    assert post(submitter, Unpicklable()) is None
    assert submitter.outstanding() == 0


def test_an_exit_while_it_is_encoded_goes_up(submitter):
    def leave(*_):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        submitter.post(1, leave, None)
    assert submitter.outstanding() == 0


def test_what_encodes_must_give_bytes(submitter):
    assert submitter.post(1, str, None) is None
    assert submitter.outstanding() == 0


def test_nothing_is_posted_while_the_word_is_set(submitter):
    words = memoryview(bytearray(16)).cast("Q")
    submitter.watch_stop(words[1:2])
    words[1] = 1
    assert pickle.loads(post(submitter, "later")) == "later"
    assert submitter.outstanding() == 0
    words[1] = 0
    assert post(submitter, "now") == 1
    with pytest.raises(ValueError, match="already"):
        submitter.watch_stop(words[1:2])


def test_a_word_is_one_word(submitter):
    with pytest.raises(ValueError, match="one word"):
        submitter.watch_stop(memoryview(bytearray(16)))


def test_room_runs_out(submitter):
    for _ in range(4):
        assert post(submitter, b"x" * 4000) > 0
    assert post(submitter, b"") == -1


def test_data_that_has_no_room_inside_comes_back(submitter):
    large = b"x" * 20_000
    assert pickle.loads(post(submitter, large)) == large
    for _ in range(3):
        assert post(submitter, b"x" * 4000) > 0
    assert submitter.outstanding() == 3


def test_an_exception_leaves_the_task_in_hand(submitter, taker):
    post(submitter, 1)
    with pytest.raises(ZeroDivisionError):
        run(taker, lambda *_: 1 // 0)
    record, task_id, attempt, *_ = taker.in_hand()
    assert (task_id, attempt, taker.unread()) == (1, 1, False)
    assert taker.retry(record, 0)
    assert taker.in_hand() is None
    assert run(taker, lambda *_: None) is True
    assert submitter.outstanding() == 0


def test_data_that_cannot_be_read_is_told_apart(submitter, taker):
    post(submitter, Explodes())
    with pytest.raises(ValueError, match="no number"):
        run(taker, print)
    assert taker.unread()
    assert taker.done(taker.in_hand()[0]) == 0


def test_a_strangers_task_is_left(submitter, taker):
    record, task_id = taker.take()
    taker.flag(record, _ledger.FOREIGN, 0)
    taker.put(record, b"theirs")
    taker.publish(record, -1, 0)
    stage, job, nothing = run(taker, print)
    assert (stage, job[1], job[5], nothing) == (_ledger.BEGUN, task_id, b"theirs", None)
    taker.done(job[0])


@pytest.mark.parametrize("result", [Unpicklable(), b"x" * 20_000], ids=["unpicklable", "large"])
def test_a_result_that_cannot_be_kept_is_left(submitter, taker, result):
    post(submitter, 1)
    stage, job, returned = run(taker, lambda *_: result)
    assert (stage, job[1], returned) == (_ledger.RETURNED, 1, result)
    assert taker.done(job[0]) == 0, "its end was not written"


def test_a_result_given_and_another_returned_are_left(submitter, taker):
    post(submitter, 1)
    stage, job, returned = run(taker, lambda *_: taker.give(b"given") or "returned")
    assert (stage, returned, taker.given()) == (_ledger.RETURNED, "returned", b"given")
    assert taker.done_with(job[0], b"given") == 0
    post(submitter, 2)
    assert run(taker, lambda *_: None) is True
    assert taker.given() is None, "what was given is for one task"
    with pytest.raises(TypeError):
        taker.give("text")


def test_a_given_result_is_the_end(submitter, taker):
    post(submitter, 1)
    assert run(taker, lambda *_: taker.give(pickle.dumps("given"))) is True
    seen = []
    assert submitter.collect(1) == 1
    assert hear(submitter, lambda *args: seen.append(args)) is None
    assert seen == [("server", 1, "given")]


def test_an_end_that_comes_too_late_is_left(ledger, submitter, taker):
    post(submitter, 1)

    def loses_it(*_):
        manager = ledger.overview  # takes it away, as if this process were dead
        assert manager.retry(manager.next(0, _ledger.RUNNING, TAKER), 0)

    stage, job, code = run(taker, loses_it)
    assert (stage, job[1], code) == (_ledger.ENDED, 1, -1)
    assert run(taker, lambda *_: None) is True and submitter.outstanding() == 0


def finish_two(submitter, taker):
    for number in (1, 2):
        post(submitter, number)
        assert run(taker, lambda _s, _id, _w, data: data * 10) is True
    assert submitter.collect(10) == 2


def test_who_waits_is_left(submitter, taker):
    finish_two(submitter, taker)
    seen = []
    stage, record, task_id, _, attempt, result, size = hear(
        submitter, lambda *args: seen.append(args), {1: "somebody"}
    )
    assert (stage, task_id, attempt, pickle.loads(result)) == (_ledger.UNTOLD, 1, 1, 10)
    assert size == len(result) and seen == []
    submitter.release(record)
    assert hear(submitter, lambda *args: seen.append(args), {1: "somebody"}) is None
    assert seen == [("server", 2, 20)]


def test_what_finish_returns_is_left(submitter, taker):
    finish_two(submitter, taker)
    stage, record, task_id, _, _, returned, _ = hear(submitter, lambda *_: "a coroutine")
    assert (stage, task_id, returned) == (_ledger.RETURNED, 1, "a coroutine")
    submitter.release(record)
    assert hear(submitter, lambda *_: None) is None
    assert submitter.outstanding() == 0


def test_a_finish_that_raises_leaves_the_others(submitter, taker):
    finish_two(submitter, taker)
    with pytest.raises(ZeroDivisionError):
        hear(submitter, lambda *_: 1 // 0)
    record, task_id, *_ = submitter.in_hand()
    assert (task_id, submitter.unread()) == (1, False)
    submitter.release(record)
    seen = []
    assert hear(submitter, lambda *args: seen.append(args)) is None
    assert seen == [("server", 2, 20)] and submitter.in_hand() is None


def test_a_result_that_cannot_be_read_is_told_apart(submitter, taker):
    post(submitter, 1)
    assert run(taker, lambda *_: Explodes()) is True
    assert submitter.collect(10) == 1
    with pytest.raises(ValueError, match="no number"):
        hear(submitter, print)
    assert submitter.unread()
    submitter.release(submitter.in_hand()[0])


def test_a_finish_that_hears_itself_takes_what_is_left(submitter, taker):
    """As taskwait() inside finish does; the exception after it is of the outer one."""
    finish_two(submitter, taker)
    inner = []

    def outer(_server, task_id, _result):
        assert submitter.collect(10) == 1
        assert hear(submitter, lambda *args: inner.append(args)) is None
        raise KeyError(task_id)

    with pytest.raises(KeyError):
        hear(submitter, outer)
    assert inner == [("server", 2, 20)]
    record, task_id, *_ = submitter.in_hand()
    assert (task_id, submitter.unread()) == (1, False)
    submitter.release(record)
    assert hear(submitter, print) is None and submitter.outstanding() == 0


def test_no_object_is_kept_or_lost(submitter, taker):
    data, answer = ["data"], ["answer"]
    seen = []

    def callback(*_):
        if len(seen) % 3 == 0:
            taker.give(pickle.dumps(answer))
            return None
        return answer

    def finish(*_):
        seen.append(None)
        if len(seen) % 5 == 0:
            raise ValueError

    def round_trip():
        post(submitter, data)
        run(taker, callback)
        submitter.collect(1)
        try:
            hear(submitter, finish)
        except ValueError:
            submitter.release(submitter.in_hand()[0])

    for _ in range(100):
        round_trip()
    gc.collect()
    before = [sys.getrefcount(each) for each in (data, answer, callback, finish, None)]
    blocks = sys.getallocatedblocks()
    for _ in range(1000):
        round_trip()
    gc.collect()
    after = [sys.getrefcount(each) for each in (data, answer, callback, finish, None)]
    assert after[:4] == before[:4]
    if sys.version_info < (3, 12):  # later None is immortal, and its references are not counted
        assert abs(after[4] - before[4] - 1000) < 200, "seen has 1,000 more of None"
    assert sys.getallocatedblocks() - blocks < 200
    assert submitter.outstanding() == 0


@pytest.mark.parametrize("call", ["run", "deliver", "post"])
def test_the_number_of_arguments_is_checked(submitter, call):
    with pytest.raises(TypeError, match="got 1"):
        getattr(submitter, call)(1)

"""Locks, and several threads: rules T13 to T18 of ipckit.table.contract, T2 and T7 once more."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import MutableMapping
from time import monotonic

import pytest
from deadlines import LOOK
from tables import (  # noqa: F401  (fixtures)
    COLUMNS,
    MOMENT,
    ROW,
    ZERO,
    contents,
    ended,
    kind,
    later,
    make,
    table,
    writes,
)
from timing import soonest

from ipckit.errors import DeadlockError, MisuseError, SchemaError, TableFull, WaitTimeout

# -- T13..T18: lock --


@pytest.mark.parametrize("name", writes())
@pytest.mark.parametrize("there", [True, False])
def test_t13_lock_shuts_out_each_writer(table, name, there):
    """T13: of another thread, until the block ends, whether the row exists or not."""
    if there:
        table.set("k", {"n": 5})
    order = []

    def write():
        writes()[name](table)
        order.append("written")

    with table.lock("k") as row:
        row["n"] = 0
        thread = later(write)
        thread.join(MOMENT)
        order.append("leaving")
    assert ended(thread)
    assert order == ["leaving", "written"]


def test_t20_locks_and_who_waits_are_counted(table):
    """T20: while they last, in any thread."""

    def load():
        now = table.statistics()
        return now.locked, now.waiting

    def until(wanted):
        deadline = monotonic() + LOOK
        while load() != wanted:
            assert monotonic() < deadline, load()

    assert load() == (0, 0)
    with table.lock("a"), table.lock("b"):
        assert load() == (2, 0)
        thread = later(lambda: table.set("a", {"n": 1}))
        until((2, 1))
    assert ended(thread)
    assert load() == (0, 0)


def test_t13_other_rows_are_free(table):
    """T13: no other row waits, neither for this thread nor for another one."""
    table.set("other", {})
    with table.lock("k"):

        def write():
            for key in ("other", "a", "b"):
                table.incr(key, "n")
            with table.lock("c", timeout=LOOK) as row:
                row["n"] = 1
            table.delete("b")

        assert ended(later(write))
        table.incr("other", "n")
    assert {key: row["n"] for key, row in table.items()} == {"other": 2, "a": 1, "c": 1, "k": 0}


def test_t13_readers_go_on(table):
    """T13: they see the old row until the commit, in this thread and in others."""
    table.set("k", ROW)
    seen = []

    def read():
        seen.append((table.get("k"), table["k"], table.get("k", "n"), "k" in table, len(table)))
        seen.append((list(table), list(table.items())))

    with table.lock("k") as row:
        row["n"] = 99
        read()
        assert ended(later(read))
    old = [(ROW, ROW, 7, True, 1), (["k"], [("k", ROW)])]
    assert seen == old * 2
    assert table["k"] == ROW | {"n": 99}


def test_t14_the_row_of_a_block(table):
    """T14: a mutable mapping with all columns."""
    table.set("k", ROW)
    with table.lock("k") as row:
        assert isinstance(row, MutableMapping)
        assert dict(row) == ROW and list(row) == list(COLUMNS) and len(row) == len(COLUMNS)
        assert "n" in row and "none" not in row and row["s"] == "张三" and row.get("n") == 7
        row.update(n=8, s="x")
        row["b"] = bytearray(b"abc")
        row["x"] = 3
        assert row["b"] == b"abc" and type(row["x"]) is float
        assert table["k"] == ROW
        assert "8" in repr(row)
    assert table["k"] == ROW | {"n": 8, "s": "x", "b": b"abc", "x": 3.0}


def test_t14_wrong_uses_raise_at_once(table):
    """T14: and the row stays usable."""
    with table.lock("k") as row:
        for error, change in (
            (SchemaError, lambda: row["none"]),
            (SchemaError, lambda: row.__setitem__("none", 1)),
            (SchemaError, lambda: row.__setitem__("n", "1")),
            (SchemaError, lambda: row.__setitem__("s", b"1")),
            (OverflowError, lambda: row.__setitem__("i1", 128)),
            (ValueError, lambda: row.__setitem__("s", "x" * 17)),
            (ValueError, lambda: row.__setitem__("s", "\ud800")),
            (SchemaError, lambda: row.__delitem__("n")),
            (SchemaError, lambda: row.__delitem__("none")),
            (SchemaError, lambda: row.pop("n")),
            (SchemaError, row.clear),
        ):
            with pytest.raises(error):
                change()
        row["n"] = 1
    assert contents(table) == {"k": ZERO | {"n": 1}}


@pytest.mark.parametrize("fail", [False, True])
def test_t14_the_row_ends_with_its_block(table, fail):
    """T14: then each use of it is MisuseError."""
    try:
        with table.lock("k") as row:
            if fail:
                raise LookupError
    except LookupError:
        pass
    for use in (
        lambda: row["n"],
        lambda: row.__setitem__("n", 1),
        lambda: row.__delitem__("n"),
        lambda: list(row),
        lambda: len(row),
        lambda: "n" in row,
        lambda: dict(row),
    ):
        with pytest.raises(MisuseError):
            use()
    assert repr(row)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("there", [True, False])
def test_t15_an_exception_leaves_the_row(table, error, there):
    """T15: as it was or absent, it passes through, and the lock is free."""
    if there:
        table.set("k", ROW)
    before = contents(table)
    with pytest.raises(error), table.lock("k") as row:
        row["n"] = 99
        raise error
    assert contents(table) == before and len(table) == there
    table.set("k", {"n": 1})
    assert table.get("k", "n") == 1


def test_t15_a_block_without_changes(table):
    """T15: commits the row as it was; a missing one as zeros."""
    table.set("k", ROW)
    for key in ("k", "new"):
        with table.lock(key):
            pass
    assert contents(table) == {"k": ROW, "new": ZERO}


def test_t15_return_and_break_commit(table):
    """T15: only an exception drops the changes."""

    def early():
        with table.lock("k") as row:
            row["n"] = 1
            return

    early()
    for _ in range(2):
        with table.lock("k") as row:
            row["n"] += 1
            break
    assert table.get("k", "n") == 2


def test_t16_a_missing_key_takes_its_place(make):
    """T16: at entry; others see no row and have no room."""
    table = make(2)
    table.set("a", {})
    seen = []

    def look():
        seen.append((len(table), table.count(), list(table), "k" in table, table.get("k")))
        with pytest.raises(TableFull):
            table.set("b", {})
        with pytest.raises(TableFull), table.lock("b"):
            pass
        seen.append(table.add("a", {}))

    with table.lock("k") as row:
        assert dict(row) == ZERO
        row["n"] = 5
        look()
        assert ended(later(look))
    assert seen == [(1, 1, ["a"], False, None), False] * 2
    assert contents(table) == {"a": ZERO, "k": ZERO | {"n": 5}}


def test_t16_the_place_is_given_back(make):
    """T16: by an exception; a full table refuses at entry, but locks the rows it has."""
    table = make(1)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), table.lock("k"):
            raise ZeroDivisionError
    table.set("a", {})
    entered = []
    with pytest.raises(TableFull) as caught, table.lock("k"):
        entered.append("k")
    assert entered == [] and (caught.value.size, caught.value.key) == (1, "k")
    with table.lock("a") as row:
        row["n"] = 1
    assert contents(table) == {"a": ZERO | {"n": 1}}
    assert table.delete("a") is True
    with table.lock("k"):
        pass
    assert list(table) == ["k"]


@pytest.mark.parametrize("name", writes())
@pytest.mark.parametrize("there", [True, False])
def test_t17_own_writes_are_deadlocks(table, name, there):
    """T17: the error comes without a wait, and the block goes on."""
    if there:
        table.set("k", {"n": 5})
    with table.lock(b"k") as row:
        row["n"] = 6
        with pytest.raises(DeadlockError, match="'k'"):
            writes()[name](table)
        with pytest.raises(DeadlockError), table.lock("k", timeout=0):
            pass
    assert contents(table) == {"k": ZERO | {"n": 6}}


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("timeout", [None, LOOK])
def test_t17_a_cycle_is_a_deadlock_in_one(table, count, write, timeout):
    """T17: exactly the one who closes it; the others get their locks, or do their writes."""
    barrier = threading.Barrier(count)
    results = []

    def around(number):
        try:
            with table.lock(str(number)):
                barrier.wait(LOOK)
                behind = str((number + 1) % count)
                if write:
                    table.incr(behind, "n")
                else:
                    with table.lock(behind, timeout=timeout) as row:
                        row["n"] += 1
                results.append("done")
        except DeadlockError:
            results.append("deadlock")

    threads = [later(lambda number=number: around(number)) for number in range(count)]
    assert ended(*threads)
    assert sorted(results) == ["deadlock"] + ["done"] * (count - 1)
    assert sum(row["n"] for row in table.values()) <= count - 1


def test_t17_many_blocks_never_hang(table):
    """T17: threads that take two locks in any order end, and what they committed counts."""
    done = []

    def run(seed):
        chance = random.Random(seed)
        for _ in range(100):
            first, second = chance.sample("abcd", 2)
            try:
                with table.lock(first) as one:
                    with table.lock(second) as two:
                        two["n"] += 1
                    done.append(1)
                    one["n"] += 1
                done.append(1)
            except DeadlockError:
                pass

    threads = [later(lambda seed=seed: run(seed)) for seed in range(4)]
    assert ended(*threads)
    assert sum(row["n"] for row in table.values()) == len(done)
    assert table.verify() == []


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_t18_lock_waits_so_long(table, timeout):
    """T18: WaitTimeout, not early, not much later; nothing is changed."""
    taken = []

    def wait():
        with pytest.raises(WaitTimeout, match=f"'k'.*{timeout}"), table.lock("k", timeout=timeout):
            pass

    with table.lock("k") as row:
        row["n"] = 3
        assert ended(later(lambda: taken.append(soonest(wait))))
    assert timeout <= taken[0] < timeout + 1
    with table.lock("k", timeout=timeout) as row:
        assert row["n"] == 3


@pytest.mark.parametrize("timeout", [None, LOOK, math.inf])
def test_t18_a_wait_ends_with_the_block(table, timeout):
    """T18: the next one finds what was committed."""
    found = []

    def wait():
        with table.lock("k", timeout=timeout) as row:
            found.append(row["n"])

    with table.lock("k") as row:
        threads = [later(wait) for _ in range(3)]
        threads[0].join(MOMENT)
        row["n"] = 3
    assert ended(*threads)
    assert found == [3] * 3


def test_t18_wrong_times(table):
    """T18, T11: also where nothing would be waited for."""
    for timeout in (-1, math.nan, -math.inf):
        with pytest.raises(ValueError), table.lock("k", timeout=timeout):
            pass
    for timeout in ("1", [1], 1j):
        with pytest.raises(TypeError), table.lock("k", timeout=timeout):
            pass
    assert len(table) == 0
    table.set("k", {})


def test_t18_eight_locks_at_a_time(make):
    """T18: the ninth is MisuseError before any wait; another thread has its own eight."""
    table = make(20)
    blocks = [table.lock(str(number)) for number in range(8)]
    for block in blocks:
        block.__enter__()["n"] = 1
    with pytest.raises(MisuseError, match="8 locks"), table.lock("ninth"):
        pass
    release, held = threading.Event(), threading.Event()

    def hold():
        with table.lock("held"):
            held.set()
            release.wait(LOOK)

    thread = later(hold)
    assert held.wait(LOOK)
    start = monotonic()
    with pytest.raises(MisuseError), table.lock("held", timeout=LOOK):
        pass
    assert monotonic() - start < LOOK / 2
    release.set()
    assert ended(thread)
    blocks.pop().__exit__(None, None, None)
    with table.lock("ninth"):
        pass
    for block in blocks:
        block.__exit__(None, None, None)
    assert len(table) == 10 and table.verify() == []


def test_t18_blocks_may_end_in_any_order(table):
    """T18: they are independent of each other."""
    one, two = table.lock("a"), table.lock("b")
    one.__enter__()["n"] = 1
    two.__enter__()["n"] = 2
    one.__exit__(None, None, None)
    assert table.get("a", "n") == 1 and "b" not in table
    table.incr("a", "n")
    two.__exit__(None, None, None)
    assert {key: row["n"] for key, row in table.items()} == {"a": 2, "b": 2}


# -- T2, T7, T8 with several threads --


def test_t7_no_count_is_lost(table):
    """T7, T8, T15: incr, compare_and_set and lock of several threads add up."""

    def count():
        for _ in range(150):
            table.incr("incr", "n")
            while not table.compare_and_set("cas", "n", old := table.get("cas", "n"), old + 1):
                pass
            with table.lock("lock") as row:
                row["n"] += 1

    table.set("cas", {})
    threads = [later(count) for _ in range(4)]
    assert ended(*threads)
    assert {key: row["n"] for key, row in table.items()} == dict.fromkeys(("incr", "cas", "lock"), 600)  # fmt: skip


def test_t2_a_row_is_never_seen_half_changed(table):
    """T2, T3, T15: all columns of one step at once."""
    end = threading.Event()

    def change():
        number = 0
        while not end.is_set():
            number = (number + 1) % 100
            row = {"n": number, "i1": number, "x": number, "s": str(number), "b": b"%d" % number}
            table.set("k", row)
            table["k"] = {**row, "i4": number}
            with table.lock("k") as locked:
                locked.update(row)

    table.set("k", {"s": "0", "b": b"0"})
    thread = later(change)
    rows = [table["k"] for _ in range(2000)] + [row for _ in range(500) for row in table.values()]
    end.set()
    assert ended(thread)
    for row in rows:
        assert row["n"] == row["i1"] == row["x"] == int(row["s"]) == int(row["b"])

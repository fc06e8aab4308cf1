"""Every table of ipckit obeys ipckit.table.contract; a test's number is the rule's.

Rows, counting, iteration, a table's life. test_table_values.py has keys and values,
test_table_locks.py what several threads do.
"""

from __future__ import annotations

import math
import random

import pytest
from tables import COLUMNS, INTS, ROW, ZERO, contents, kind, make, table, writes  # noqa: F401  (fixtures)

from ipckit.errors import TableFull

# -- T1: room --


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
def test_t1_exactly_size_rows(make, size):
    """T1: each of `size` rows fits, one more does not and changes nothing."""
    table = make(size)
    for number in range(size):
        table.set(f"key {number}", {"n": number})
    before = contents(table)
    with pytest.raises(TableFull, match=f"{size} rows.*'one more'") as caught:
        table.set("one more", {"n": 1})
    assert (caught.value.size, caught.value.key) == (size, "one more")
    assert contents(table) == before and len(table) == size


@pytest.mark.parametrize("seed", range(5))
def test_t1_whatever_was_deleted_before(make, seed):
    """T1: no history of deletes and inserts costs room."""
    table, chance, there = make(16), random.Random(seed), set()
    for turn in range(2000):
        key = chance.choice(sorted(there)) if len(there) == 16 else chance.randbytes(5)
        if key in there:
            assert table.delete(key)
            there.remove(key)
        else:
            table.set(key, {"n": turn})
            there.add(key)
    while len(there) < 16:
        there.add(chance.randbytes(5))
    for key in there:
        table.set(key, {})
    with pytest.raises(TableFull):
        table.set("one more", {})
    assert {k if isinstance(k, bytes) else k.encode() for k in table} == there


def test_t1_every_call_that_makes_a_row(make):
    """T1: all of them refuse; all of them work on rows that exist."""
    table = make(1)
    table.set(b"\xff", {"n": 5})
    for name, call in writes(b"\xfe").items():
        if name in {"compare_and_set", "delete"}:
            assert call(table) is False
            continue
        if name in {"del", "pop"}:
            with pytest.raises(KeyError):
                call(table)
            continue
        with pytest.raises(TableFull) as caught:
            call(table)
        assert (caught.value.size, caught.value.key) == (1, b"\xfe"), name
    table.set(b"\xff", {"n": 6})
    table[b"\xff"] = {"n": 7}
    assert table.add(b"\xff", {"n": 8}) is False
    assert table.incr(b"\xff", "n") == 8
    with table.lock(b"\xff") as row:
        row["n"] += 1
    assert contents(table) == {b"\xff": ZERO | {"n": 9}}


# -- T2..T6: rows --


def test_t2_set_fills_and_keeps(table):
    """T2: a new row's other columns are zero or empty; an existing row's stay."""
    assert table.set("k", {"s": "a"}) is None
    assert table["k"] == ZERO | {"s": "a"}
    table.set("k", ROW)
    table.set("k", {"n": 8, "x": 2})
    assert table["k"] == ROW | {"n": 8, "x": 2.0}
    table.set("k", {})
    assert table["k"] == ROW | {"n": 8, "x": 2.0}
    table.set("new", {})
    assert table["new"] == ZERO


def test_t2_a_deleted_row_comes_back_empty(table):
    """T2: nothing of what was in its place is seen again."""
    table.set("k", ROW)
    table.delete("k")
    table.set("k", {"n": 1})
    assert table["k"] == ZERO | {"n": 1}


def test_t3_assignment_replaces(table):
    """T3: the columns not given become zero or empty."""
    table["k"] = ROW
    assert table["k"] == ROW
    table["k"] = {"s": "x"}
    assert table["k"] == ZERO | {"s": "x"}
    table["k"] = {}
    assert table["k"] == ZERO and len(table) == 1


def test_t4_add_only_if_absent(table):
    """T4: True and a full row, or False and nothing."""
    assert table.add("k", {"n": 1}) is True
    assert table.add("k", ROW) is False
    assert contents(table) == {"k": ZERO | {"n": 1}}


def test_t5_get(table):
    """T5: a row, a value, or the default."""
    table.set("k", ROW)
    assert table.get("k") == table["k"] == ROW
    assert list(table["k"]) == list(COLUMNS)
    for name, value in ROW.items():
        assert table.get("k", name) == value
        assert type(table.get("k", name)) is type(value)
    assert table.get("k", "n", 5) == 7
    assert table.get("none") is None and table.get("none", "n") is None
    assert table.get("none", default=3) == 3 and table.get("none", "s", "d") == "d"
    assert table.get("none", column="s", default="d") == "d"
    assert "k" in table and table.exists("k") is True
    assert "none" not in table and table.exists("none") is False
    with pytest.raises(KeyError) as caught:
        table["none"]
    assert caught.value.args == ("none",)


def test_t5_rows_are_copies(table):
    """T5: changing what was returned or given changes no row."""
    given = dict(ROW)
    table.set("k", given)
    given["n"] = 0
    for row in (table["k"], table.get("k"), next(table.values()), next(table.items())[1]):
        row.clear()
    assert table["k"] == ROW


def test_t6_delete_and_pop(table):
    """T6: delete says whether, del and pop raise KeyError, pop returns the row."""
    for key in "abc":
        table.set(key, ROW)
    assert table.delete("a") is True and table.delete("a") is False
    assert table.pop("b") == ROW
    del table["c"]
    for call in (lambda: table.pop("b"), lambda: table.__delitem__("c")):
        with pytest.raises(KeyError):
            call()
    assert len(table) == 0 and "a" not in table


# -- T7, T8: counting, comparing --


def test_t7_incr_and_decr(table):
    """T7: the new value; a missing row begins at zero; the other columns stay."""
    assert table.incr("k", "n") == 1
    assert table.incr("k", "n", 41) == 42
    assert table.decr("k", "n") == 41
    assert table.decr("k", "n", 50) == -9
    assert table.incr("k", "n", by=-1) == -10
    assert table.decr("new", "i1", 128) == -128
    assert table.incr("k", "x", 1) == 1.0 and type(table.get("k", "x")) is float
    assert table.decr("k", "x", 0.25) == 0.75
    assert table.incr("k", "i1", True) == 1
    table.set("full", ROW)
    assert table.incr("full", "i2") == 301
    assert table["full"] == ROW | {"i2": 301}
    assert table["k"] == ZERO | {"n": -10, "x": 0.75, "i1": 1}
    assert math.isinf(table.incr("inf", "x", math.inf))
    assert math.isnan(table.decr("inf", "x", math.inf))


@pytest.mark.parametrize("name", INTS)
def test_t7_overflow_changes_nothing(table, name):
    """T7: at each edge of each size; and no row is made."""
    most, least = 2 ** (8 * INTS[name] - 1) - 1, -(2 ** (8 * INTS[name] - 1))
    assert table.incr("k", name, most) == most
    for by in (1, most, 2**63 - 1, 2**63, 10**5000):
        with pytest.raises(OverflowError, match=name):
            table.incr("k", name, by)
        with pytest.raises(OverflowError, match=name):
            table.decr("k", name, -by)
    assert table["k"] == ZERO | {name: most}
    table.set("k", {name: 0})
    assert table.decr("k", name, most) == -most
    assert table.decr("k", name) == least
    for by in (1, most, -least, 2**63 - 1, 2**64):
        with pytest.raises(OverflowError, match=name):
            table.decr("k", name, by)
        with pytest.raises(OverflowError):
            table.incr("new", name, 2**63)
    assert table.incr("k", name, most) == -1
    assert contents(table) == {"k": ZERO | {name: -1}}
    if INTS[name] < 8:
        with pytest.raises(OverflowError):
            table.incr("new", name, most + 1)
        assert "new" not in table


def test_t7_the_largest_steps(table):
    """T7: a step is any 64 bit number, of decr() what it takes away."""
    assert table.decr("k", "n", 2**63) == -(2**63)
    assert table.incr("k", "n", 2**63 - 1) == -1
    assert table.incr("k", "n", -(2**63) + 1) == -(2**63)
    with pytest.raises(OverflowError):
        table.decr("new", "n", -(2**63))
    with pytest.raises(OverflowError):
        table.incr("k", "x", 10**400)
    assert list(table) == ["k"]


def test_t8_compare_and_set(table):
    """T8: only where it is equal; a missing row never is."""
    assert table.compare_and_set("k", "n", 0, 1) is False and len(table) == 0
    table.set("k", ROW)
    for name, value in ROW.items():
        assert table.compare_and_set("k", name, ZERO[name], value) is False
        assert table.compare_and_set("k", name, value, ZERO[name]) is True
    assert table["k"] == ZERO
    assert table.compare_and_set("k", "s", "", "\0") is True
    assert table.compare_and_set("k", "s", "", "x") is False
    assert table.compare_and_set("k", "s", "\0\0", "x") is False
    assert table.compare_and_set("k", "b", bytearray(), memoryview(b"y")) is True
    assert table["k"] == ZERO | {"s": "\0", "b": b"y"}


def test_t8_floats_compare_as_python_does(table):
    """T8: NaN is never equal, 0.0 and -0.0 and 0 are."""
    table.set("k", {"x": math.nan})
    assert table.compare_and_set("k", "x", math.nan, 1.0) is False
    table.set("k", {"x": 0.0})
    assert table.compare_and_set("k", "x", -0.0, -0.0) is True
    assert math.copysign(1, table.get("k", "x")) == -1
    assert table.compare_and_set("k", "x", 0, math.inf) is True
    assert table.compare_and_set("k", "x", math.inf, 3) is True
    assert table.get("k", "x") == 3.0 and type(table.get("k", "x")) is float


# -- T12: iteration --


def test_t12_iteration(table):
    """T12: keys, values, items; the table may be empty or full."""
    assert list(table) == list(table.keys()) == list(table.values()) == list(table.items()) == []
    for number in range(8):
        table.set(f"k{number}", {"n": number})
    assert sorted(table) == sorted(table.keys()) == [f"k{number}" for number in range(8)]
    assert sorted(row["n"] for row in table.values()) == list(range(8))
    assert {key: row["n"] for key, row in table.items()} == {f"k{n}": n for n in range(8)}
    assert all(row == ZERO | {"n": row["n"]} for row in table.values())


@pytest.mark.parametrize("seed", range(10))
def test_t12_rows_come_and_go_meanwhile(make, seed):
    """T12: every row that lasts is seen exactly once."""
    table, chance = make(60), random.Random(seed)
    lasting = {f"lasting {number}" for number in range(30)}
    for number, key in enumerate(sorted(lasting)):
        table.set(key, {})
        table.set(f"old {number % 20}", {})
    seen = []
    for turn, key in enumerate(table):
        seen.append(key)
        table.delete(f"old {chance.randrange(20)}")
        if len(table) < 60:
            table.set(f"new {turn}", {})
        table.delete(f"new {chance.randrange(turn + 1)}")
        table.set(chance.choice(sorted(lasting)), {"n": turn})
        assert turn < 1000
    assert sorted(key for key in seen if key in lasting) == sorted(lasting)


def test_t12_deleting_all_while_iterating(make):
    """T12: the classic loop works, and gives the room back."""
    table = make(50)
    for number in range(50):
        table.set(str(number), {})
    seen = [key for key in table if table.delete(key)]
    assert sorted(seen) == sorted(map(str, range(50))) and len(table) == 0
    for number in range(50):
        table.set(str(number), {})


def test_t12_iterators_nest(table):
    """T12: each stands where it stands."""
    for key in "abcd":
        table.set(key, {})
    pairs = [(one, two) for one in table for two in table]
    assert sorted(pairs) == [(one, two) for one in "abcd" for two in "abcd"]
    started = iter(table)
    first = next(started)
    assert sorted([first, *started]) == list("abcd")
    assert next(started, None) is None

"""Every table of ipckit obeys ipckit.table.contract; a test's number is the rule's."""

from __future__ import annotations

import enum
import math
import random
import struct
import threading
from collections.abc import MutableMapping
from pathlib import Path
from time import monotonic

import pytest

import ipckit.table
from ipckit.errors import DeadlockError, MisuseError, SchemaError, TableFull, WaitTimeout
from ipckit.table import Bytes, Float, Int, MemoryTable, Str, TableStatistics

WAIT = 10  # seconds; no wait of a sound table comes near it
MOMENT = 0.03  # seconds given to a thread to do what it must not do

TABLES = {"memory": MemoryTable}
if (Path(ipckit.table.__file__).parent / "table.py").exists():
    TABLES["shared"] = ipckit.table.Table

COLUMNS = {
    "n": Int(8),
    "i1": Int(1),
    "i2": Int(2),
    "i4": Int(4),
    "x": Float(),
    "s": Str(16),
    "b": Bytes(16),
}
ZERO = {"n": 0, "i1": 0, "i2": 0, "i4": 0, "x": 0.0, "s": "", "b": b""}
ROW = {"n": 7, "i1": -1, "i2": 300, "i4": -70000, "x": 0.5, "s": "张三", "b": b"\0\xff\0"}
INTS = {"i1": 1, "i2": 2, "i4": 4, "n": 8}


@pytest.fixture(params=sorted(TABLES))
def kind(request):
    return TABLES[request.param]


@pytest.fixture
def make(kind):
    """Make tables that are closed in the end."""
    made = []

    def new(size=8, columns=COLUMNS, **more):
        made.append(kind(size, columns=columns, **more))
        return made[-1]

    yield new
    for table in made:
        table.close()


@pytest.fixture
def table(make):
    return make()


def later(call) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def ended(*threads) -> bool:
    for thread in threads:
        thread.join(WAIT)
    return not any(thread.is_alive() for thread in threads)


def contents(table) -> dict:
    return dict(table.items())


def writes(key="k"):
    """Each call that writes one row, by its name."""
    return {
        "set": lambda t: t.set(key, {"n": 1}),
        "[]=": lambda t: t.__setitem__(key, {"n": 1}),
        "add": lambda t: t.add(key, {"n": 1}),
        "incr": lambda t: t.incr(key, "n"),
        "decr": lambda t: t.decr(key, "n"),
        "compare_and_set": lambda t: t.compare_and_set(key, "n", 0, 1),
        "delete": lambda t: t.delete(key),
        "del": lambda t: t.__delitem__(key),
        "pop": lambda t: t.pop(key),
        "lock": lambda t: change_in_block(t, key),
    }


def change_in_block(table, key):
    with table.lock(key, timeout=WAIT) as row:
        row["n"] = 1


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


# -- T9: keys --


@pytest.mark.parametrize("key_size", [1, 7, 8, 9, 64, 255])
def test_t9_keys_of_every_length(make, key_size):
    """T9: 0..key_size bytes are keys of their own, one more is ValueError with both numbers."""
    table = make(2 * key_size + 2, key_size=key_size)
    keys = ["k" * size for size in range(key_size + 1)]
    keys += ["\0" * size for size in range(1, key_size + 1)]
    for number, key in enumerate(keys):
        table.set(key, {"n": number})
    assert sorted(table) == sorted(keys)
    assert [table.get(key, "n") for key in keys] == list(range(len(keys)))
    before = contents(table)
    for wrong in ("k" * (key_size + 1), b"\0" * (key_size + 1), "é" * (key_size // 2 + 1)):
        for call in (*writes(wrong).values(), lambda t: wrong in t, lambda t: t.get(wrong)):
            with pytest.raises(ValueError, match=rf"{len(wrong.encode() if isinstance(wrong, str) else wrong)} bytes.*key_size={key_size}"):  # fmt: skip
                call(table)
    assert contents(table) == before


def test_t9_str_and_bytes_are_one_key(make):
    """T9: by their UTF-8; shown as str where it is UTF-8."""
    table = make(5)
    for key in ("a", b"a", bytearray(b"a"), memoryview(b"a")):
        table.incr(key, "n")
    assert contents(table) == {"a": ZERO | {"n": 4}}
    table.set("𝄞张".encode(), {})
    table.set("", {})
    assert b"" in table and "𝄞张" in table and table.add(b"", {}) is False
    table.set(b"\xff\x00", {})
    table.set(b"\xed\xa0\x80", {})  # a surrogate's would-be UTF-8
    assert set(table) == {"a", "𝄞张", "", b"\xff\x00", b"\xed\xa0\x80"}
    assert set(table) == set(table.keys()) == {key for key, _ in table.items()}
    assert table.pop("a")["n"] == 4


def test_t9_hostile_keys_stay_apart(make):
    """T9: NULs, composed and decomposed letters, case, blanks."""
    keys = [
        "",
        "\0",
        "\0\0",
        "a",
        "a\0",
        "\0a",
        "A",
        " a",
        "a ",
        "é",
        "e\u0301",
        "𝄞",
        "\uffff",
        "\n",
    ]
    table = make(len(keys))
    for number, key in enumerate(keys):
        assert table.add(key, {"n": number}) is True
    assert {key: row["n"] for key, row in table.items()} == {k: n for n, k in enumerate(keys)}


def test_t9_wrong_keys(table):
    """T9, T11: TypeError names the type; a lone surrogate is ValueError."""
    for wrong in (None, 5, 1.5, ("a",), ["a"], True):
        for call in (*writes(wrong).values(), lambda t: wrong in t, lambda t: t[wrong]):
            with pytest.raises(TypeError, match=type(wrong).__name__):
                call(table)
    for call in (*writes("a\ud800").values(), lambda t: "\udfff" in t, lambda t: t.get("\ud800")):
        with pytest.raises(ValueError, match="surrogate"):
            call(table)
    assert len(table) == 0


# -- T10, T11: values --


STRINGS = [
    "",
    "\0",
    "\0\0",
    "a\0",
    "\0a",
    "a\0b",
    "𝄞" * 4,
    "é" * 8,
    "x" * 16,
    "\U0010ffff",
    "\ufeff",
]


@pytest.mark.parametrize("text", STRINGS)
def test_t10_strings_come_back(table, text):
    """T10: whole, whatever was longer there before; as bytes too."""
    table.set("k", {"s": "y" * 16, "b": b"y" * 16})
    table.set("k", {"s": text, "b": text.encode()})
    assert table.get("k", "s") == text and type(table.get("k", "s")) is str
    assert table.get("k", "b") == text.encode() and type(table.get("k", "b")) is bytes
    assert table["k"] == ZERO | {"s": text, "b": text.encode()}


def test_t10_bytes_come_back(table):
    """T10: every byte, from each type of bytes."""
    for start in range(0, 256, 16):
        body = bytes(range(start, start + 16))
        for shape in (bytes, bytearray, memoryview):
            table.set("k", {"b": shape(body)})
            assert table.get("k", "b") == body
    table.set("k", {"b": memoryview(b"0123456789")[::2]})
    assert table.get("k", "b") == b"02468"


@pytest.mark.parametrize(
    "number",
    [0.0, -0.0, math.inf, -math.inf, 5e-324, -5e-324, 1.7976931348623157e308, 0.1, 2**53 + 1, 2**1000, True],
)  # fmt: skip
def test_t10_floats_come_back(table, number):
    """T10: bit for bit; an int as the float it is."""
    table.set("k", {"x": number})
    for got in (table.get("k", "x"), table["k"]["x"]):
        assert struct.pack("d", got) == struct.pack("d", float(number)) and type(got) is float


def test_t10_nan_comes_back(table):
    """T10: as a NaN."""
    table.set("k", {"x": math.nan})
    assert math.isnan(table.get("k", "x"))


@pytest.mark.parametrize("name", INTS)
def test_t10_integer_edges(table, name):
    """T10, T11: both ends of each size come back, one beyond is OverflowError with the range."""
    most, least = 2 ** (8 * INTS[name] - 1) - 1, -(2 ** (8 * INTS[name] - 1))
    for number in (least, least + 1, -1, 0, 1, most - 1, most):
        table.set("k", {name: number})
        assert table.get("k", name) == number and type(table.get("k", name)) is int
    before = contents(table)
    for number in (least - 1, most + 1, 2**64, -(2**200), 10**5000):
        for call in (
            lambda: table.set("k", {"s": "lost", name: number}),
            lambda: table.add("new", {name: number}),
            lambda: table.compare_and_set("k", name, most, number),
            lambda: table.compare_and_set("k", name, number, most),
        ):
            with pytest.raises(OverflowError, match=rf"{name}.*{least}\.\.{most}"):
                call()
    assert contents(table) == before


def test_t10_columns_do_not_touch_each_other(make):
    """T10: each column full, then each empty, beside full ones."""
    columns = {"a": Bytes(1), "b": Int(1), "c": Bytes(7), "d": Str(9), "e": Int(2), "f": Bytes(8)}
    full = {"a": b"\xff", "b": -1, "c": b"\xff" * 7, "d": "\x7f" * 9, "e": -1, "f": b"\xff" * 8}
    zero = {"a": b"", "b": 0, "c": b"", "d": "", "e": 0, "f": b""}
    table = make(2, columns)
    for name in columns:
        table["k"] = full
        table.set("k", {name: zero[name]})
        assert table["k"] == full | {name: zero[name]}
        table["k"] = {name: full[name]}
        assert table["k"] == zero | {name: full[name]}


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    __slots__ = ()

    def __str__(self):
        return "something else"


def test_t10_subclasses_become_plain(table):
    """T10: enums, bools, subclasses of str are kept as what they are beneath."""
    table.set("k", {"n": Level.HIGH, "i1": True, "s": Text("abc"), "x": Level.HIGH})
    assert table["k"] == ZERO | {"n": 3, "i1": 1, "s": "abc", "x": 3.0}
    assert [type(table.get("k", name)) for name in ("n", "i1", "s", "x")] == [int, int, str, float]


WRONG_TYPES = [
    ("n", 1.0), ("n", "1"), ("n", None), ("n", b"1"), ("x", "1"), ("x", None), ("x", 1j),
    ("s", b"a"), ("s", 1), ("s", None), ("b", "a"), ("b", 1), ("b", None), ("b", [1]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES)
def test_t11_wrong_types(table, name, value):
    """T11: SchemaError names the column, what it takes and what was given."""
    table.set("k", ROW)
    calls = [
        lambda: table.set("k", {"n": 1, name: value}),
        lambda: table.__setitem__("k", {name: value}),
        lambda: table.add("k", {name: value}),
        lambda: table.add("new", {"i1": 3, name: value}),
        lambda: table.compare_and_set("k", name, value, ROW[name]),
        lambda: table.compare_and_set("k", name, ROW[name], value),
        lambda: table.compare_and_set("none", name, value, ROW[name]),
    ]
    for call in calls:
        with pytest.raises(SchemaError, match=f"'{name}'.*not {type(value).__name__}"):
            call()
    assert contents(table) == {"k": ROW}


def test_t11_wrong_steps(table):
    """T11: an Int takes ints, a Float floats too, strings cannot be counted."""
    table.set("k", ROW)
    for count in (table.incr, table.decr):
        for name, by in (("n", 1.0), ("n", "1"), ("n", None), ("x", "1"), ("x", None)):
            with pytest.raises(SchemaError, match=f"'{name}'.*not {type(by).__name__}"):
                count("k", name, by)
        for name in ("s", "b"):
            with pytest.raises(SchemaError, match=f"'{name}'"):
                count("k", name, 1)
    assert contents(table) == {"k": ROW}


def test_t11_unknown_columns(table):
    """T11: SchemaError names those there are and the nearest; missing rows do not matter."""
    for key in ("k", "none"):
        for call in (
            lambda: table.set(key, {"n": 1, "nn": 1}),
            lambda: table.__setitem__(key, {"nn": 1}),
            lambda: table.add(key, {"nn": 1}),
            lambda: table.get(key, "nn"),
            lambda: table.get(key, "nn", 5),
            lambda: table.incr(key, "nn"),
            lambda: table.decr(key, "nn", "x"),
            lambda: table.compare_and_set(key, "nn", 0, 1),
        ):
            with pytest.raises(SchemaError, match=r"'nn', did you mean 'n'\?.*'n', 'i1'.*'b'"):
                call()
        table.set("k", ROW)
    for name in (5, b"n", None, ("n",)):
        with pytest.raises(SchemaError):
            table.set("k", {name: 1})
    for name in ("", "\0", "n\0", "N", "\ud800", "x" * 10_000):
        with pytest.raises(SchemaError):
            table.get("k", name)
    assert contents(table) == {"k": ROW}


def test_t11_too_long_strings(table):
    """T11: ValueError with both numbers; bytes count, not letters."""
    table.set("k", ROW)
    for name, value, size in (
        ("s", "x" * 17, 17),
        ("s", "é" * 8 + "x", 17),
        ("s", "𝄞" * 5, 20),
        ("s", "\0" * 17, 17),
        ("b", b"\0" * 17, 17),
        ("b", bytearray(100), 100),
    ):
        for call in (
            lambda: table.set("k", {"n": 1, name: value}),
            lambda: table.add("new", {name: value}),
            lambda: table.compare_and_set("k", name, value, ROW[name]),
        ):
            with pytest.raises(ValueError, match=f"'{name}': {size} bytes.*16"):
                call()
    for value in ("\ud800", "a\udfff"):
        with pytest.raises(ValueError, match=r"'s'.*surrogate"):
            table.set("k", {"s": value})
    assert contents(table) == {"k": ROW}


def test_t11_a_row_is_a_mapping(table):
    """T11: TypeError for anything else."""
    for row in (None, 5, "n", [("n", 1)], {"n"}):
        for call in (table.set, table.add, table.__setitem__):
            with pytest.raises(TypeError, match=type(row).__name__):
                call("k", row)
    assert len(table) == 0


def test_t11_the_first_wrong_argument_is_told(table):
    """T11: the key, then the column, then the value; all before the room is looked at."""
    with pytest.raises(TypeError, match="key"):
        table.set(5, {"none": 1})
    with pytest.raises(ValueError, match="key_size"):
        table.incr("k" * 65, "none")
    with pytest.raises(SchemaError, match="none"):
        table.compare_and_set("k", "none", [], [])
    for number in range(8):
        table.set(str(number), {})
    with pytest.raises(SchemaError):
        table.set("k", {"none": 1})
    with pytest.raises(OverflowError):
        table.set("k", {"i1": 128})


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


def test_t13_other_rows_are_free(table):
    """T13: no other row waits, neither for this thread nor for another one."""
    table.set("other", {})
    with table.lock("k"):

        def write():
            for key in ("other", "a", "b"):
                table.incr(key, "n")
            with table.lock("c", timeout=WAIT) as row:
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
    """T17: at once, and the block goes on."""
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
@pytest.mark.parametrize("timeout", [None, WAIT])
def test_t17_a_cycle_is_a_deadlock_in_one(table, count, write, timeout):
    """T17: exactly the one who closes it; the others get their locks, or do their writes."""
    barrier = threading.Barrier(count)
    results = []

    def around(number):
        try:
            with table.lock(str(number)):
                barrier.wait(WAIT)
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
        start = monotonic()
        with pytest.raises(WaitTimeout, match=f"'k'.*{timeout}"), table.lock("k", timeout=timeout):
            pass
        taken.append(monotonic() - start)

    with table.lock("k") as row:
        row["n"] = 3
        assert ended(later(wait))
    assert timeout <= taken[0] < timeout + 1
    with table.lock("k", timeout=timeout) as row:
        assert row["n"] == 3


@pytest.mark.parametrize("timeout", [None, WAIT, math.inf])
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
            release.wait(WAIT)

    thread = later(hold)
    assert held.wait(WAIT)
    start = monotonic()
    with pytest.raises(MisuseError), table.lock("held", timeout=WAIT):
        pass
    assert monotonic() - start < WAIT / 2
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


# -- T19: its life --


def uses(table):
    """Each call that needs a made and open table."""
    return [
        *(lambda call=call: call(table) for call in writes().values()),
        lambda: table.get("k"),
        lambda: table["k"],
        lambda: "k" in table,
        lambda: table.exists("k"),
        lambda: len(table),
        table.count,
        lambda: list(table),
        lambda: list(table.keys()),
        lambda: list(table.values()),
        lambda: list(table.items()),
        table.statistics,
        table.verify,
        lambda: table.memory_size,
    ]


def test_t19_before_create(kind):
    """T19: every use is MisuseError; then column() and create() are."""
    table = kind(4)
    assert table.size == 4
    for use in uses(table):
        with pytest.raises(MisuseError, match="create"):
            use()
    assert table.column("n", table.TYPE_INT) is table
    assert table.column("s", Str(5)).column("x", table.TYPE_FLOAT) is table
    assert table.create() is table
    with pytest.raises(MisuseError):
        table.create()
    with pytest.raises(MisuseError):
        table.column("late", table.TYPE_INT)
    table.set("k", {"n": 1})
    assert table["k"] == {"n": 1, "s": "", "x": 0.0}
    table.close()


def test_t19_columns_given_are_created_at_once(make):
    """T19: so column() and create() are MisuseError."""
    table = make(1, {"n": Int()})
    with pytest.raises(MisuseError):
        table.create()
    with pytest.raises(MisuseError):
        table.column("m", Int())


@pytest.mark.parametrize("made", [True, False])
def test_t19_after_close(kind, made):
    """T19: every use is MisuseError, close() again is nothing."""
    table = kind(4, columns=COLUMNS) if made else kind(4)
    if made:
        table.set("k", {"n": 1})
        iterator = iter(table)
    table.close()
    table.close()
    for use in (*uses(table), table.create, lambda: table.column("late", Int())):
        with pytest.raises(MisuseError, match="closed"):
            use()
    if made:
        with pytest.raises(MisuseError):
            next(iterator)


def test_t19_a_with_block_closes(kind):
    """T19: also by an exception."""
    with kind(4, columns=COLUMNS) as table:
        table.set("k", {})
    with pytest.raises(MisuseError):
        len(table)
    with pytest.raises(ZeroDivisionError), kind(4, columns=COLUMNS) as table:
        raise ZeroDivisionError
    with pytest.raises(MisuseError):
        len(table)


def test_t19_remove(kind):
    """T19: a table may be removed, and closed afterwards."""
    table = kind(4, columns=COLUMNS)
    table.set("k", {})
    table.remove()
    table.close()
    with pytest.raises(MisuseError):
        table.get("k")


# -- T20, T21 --


def test_t20_how_it_stands(make):
    """T20: the numbers agree with each other."""
    table = make(5, key_size=10)
    for key in "abc":
        table.set(key, {})
    with table.lock("unseen"):
        now = table.statistics()
    assert isinstance(now, TableStatistics)
    assert (now.size, now.rows, now.key_size, now.columns) == (5, 3, 10, tuple(COLUMNS))
    assert len(table) == table.count() == 4
    assert table.size == 5 and table.memory_size == now.memory_size
    assert type(table.memory_size) is int and now.memory_size >= 5 * now.row_bytes > 0
    assert now.row_bytes == 8 * len(COLUMNS) + 2 * 16
    assert table.verify() == []


@pytest.mark.parametrize("key_size", [0, -1, 256, 2**63, 2**5000])
def test_t21_key_sizes(kind, key_size):
    """T21: 1..255, also where the columns come later."""
    for columns in (COLUMNS, None):
        with pytest.raises(ValueError, match="key_size"):
            kind(4, columns=columns, key_size=key_size)
        with pytest.raises(TypeError, match="key_size"):
            kind(4, columns=columns, key_size="64")


def test_t21_sizes(kind):
    """T21: 1..2**31-1 rows, an int."""
    for size in (0, -1, 2**31, 10**5000):
        with pytest.raises(ValueError, match="size"):
            kind(size)
        with pytest.raises(ValueError, match="size"):
            kind(size, columns=COLUMNS)
    for size in (1.0, "1", None):
        with pytest.raises(TypeError, match="size"):
            kind(size)
    kind(2**31 - 1).close()


def test_t21_column_takes_the_two_spellings(kind):
    """T21: a number and a size, or a Column."""
    table = kind(2)
    for name, args in {
        "a": (table.TYPE_INT,),
        "b": (table.TYPE_INT, 0),
        "c": (table.TYPE_INT, 1),
        "d": (table.TYPE_FLOAT, 8),
        "e": (table.TYPE_STRING, 4),
        "f": (table.TYPE_BYTES, 4),
        "g": (Int(2),),
    }.items():
        table.column(name, *args)
    table.create()
    full = {
        "a": 2**63 - 1,
        "b": 2**63 - 1,
        "c": 127,
        "d": 0.1,
        "e": "𝄞",
        "f": b"\0" * 4,
        "g": -32768,
    }
    table.set("k", full)
    assert table["k"] == full and list(table["k"]) == list("abcdefg")
    for name, value in {"a": 2**63, "c": 128, "g": -32769}.items():
        with pytest.raises(OverflowError):
            table.set("k", {name: value})
    table.close()


def test_t21_wrong_columns(kind):
    """T21: refused by column() itself, which leaves the table as it was."""
    table = kind(2)
    table.column("there", Int())
    for args in (
        ("", Int()),
        ("a\0", Int()),
        ("\ud800", Int()),
        ("x" * 101, Int()),
        ("é" * 51, Int()),
        ("there", Int()),
        ("a", 0),
        ("a", 5),
        ("a", table.TYPE_INT, 3),
        ("a", table.TYPE_FLOAT, 4),
        ("a", table.TYPE_STRING),
        ("a", table.TYPE_STRING, 2**20 + 1),
        ("a", table.TYPE_BYTES, -1),
        ("a", Int(4), 8),
    ):
        with pytest.raises(ValueError):
            table.column(*args)
    for args in ((5, Int()), ("a", "int"), ("a", Int), ("a", None), ("a", table.TYPE_INT, "8")):
        with pytest.raises(TypeError):
            table.column(*args)
    table.column("x" * 100, Int()).create()
    assert table.statistics().columns == ("there", "x" * 100)
    table.close()


def test_t21_numbers_of_columns(kind):
    """T21: 1..256, and a row of a bit more than 1 MiB."""
    with pytest.raises(ValueError):
        kind(2, columns={})
    with pytest.raises(ValueError):
        kind(2).create()
    many = {f"c{number}": Int(1) for number in range(256)}
    with kind(2, columns=many) as table:
        table.set("k", dict.fromkeys(many, -1))
        assert table["k"] == dict.fromkeys(many, -1)
    with pytest.raises(ValueError, match="257"):
        kind(2, columns=many | {"one more": Int()})
    with kind(2, columns={"b": Bytes(2**20), "n": Int()}) as table:
        body = bytes(range(256)) * 2**12
        table.set("k", {"b": body, "n": -1})
        assert table["k"] == {"b": body, "n": -1}
    with pytest.raises(ValueError, match="row"):
        kind(2, columns={"a": Bytes(2**20), "b": Bytes(2**20)})

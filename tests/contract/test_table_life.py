"""The life of a table, its statistics, and what its making refuses: T19 to T21, for every table."""

from __future__ import annotations

import pytest
from tables import COLUMNS, INTS, ROW, ZERO, contents, kind, make, table, writes  # noqa: F401  (fixtures)

from ipckit.errors import MisuseError
from ipckit.table import Bytes, Int, Str, TableStatistics

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


def test_t19_no_close_inside_a_block(table):
    """T19: it is MisuseError, and the block goes on; so is remove()."""
    with table.lock("k") as row:
        for call in (table.close, table.remove):
            with pytest.raises(MisuseError, match="block"):
                call()
        row["n"] = 1
    assert contents(table) == {"k": ZERO | {"n": 1}}


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

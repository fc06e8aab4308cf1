"""Any mix of calls gets the same answers from a shared table and from its reference.

The table is small, so that it is often full; blocks of lock() stay open over many steps.
"""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipckit.errors import IPCError, TableFull
from ipckit.table import Bytes, Float, Int, MemoryTable, Str, Table

COLUMNS = {"i": Int(1), "n": Int(8), "x": Float(), "s": Str(5), "b": Bytes(9)}

EDGES = [2**7 - 1, 2**7, -(2**7), -(2**7) - 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**2000]
SHORT = [*"abcdefghijkl", "", "\0", "é", b"a", bytearray(b"b"), b"\xff", b"\xff\0"]
KEYS = st.sampled_from(SHORT) | st.sampled_from(["x" * 4, "x" * 5, "𝄞", "\ud800", 5, None])
INTS = st.integers(-3, 3) | st.sampled_from(EDGES)
FLOATS = st.floats() | st.sampled_from([0.0, -0.0, math.nan, math.inf, 1, 2**1024])
TEXTS = st.text(st.sampled_from("ab\0é𝄞"), max_size=4) | st.just("\ud800")
BODIES = st.binary(max_size=10) | st.binary(max_size=3).map(bytearray)
OF = {"i": INTS, "n": INTS, "x": FLOATS, "s": TEXTS, "b": BODIES}
NAMES = st.sampled_from(sorted(COLUMNS))
ODD_NAMES = NAMES | st.sampled_from(["none", "ii", "", 5])
ANY = st.one_of(*OF.values(), st.none())


@st.composite
def cells(draw, count=1):
    """A column and `count` values for it, now and then wrong ones."""
    name = draw(NAMES if draw(st.integers(0, 15)) else ODD_NAMES)
    values = OF.get(name, ANY) if draw(st.integers(0, 15)) else ANY
    return (name, *(draw(values) for _ in range(count)))


ROWS = st.lists(cells(), max_size=5).map(dict) | st.just(5)


def plain(value):
    """A value that equals another one only if it is the same: NaN itself, 0.0 not -0.0 or 0."""
    if isinstance(value, dict):
        return [(name, plain(each)) for name, each in value.items()]
    return repr(value)


def answer(call):
    """What a call returns, or the class, text and fields of what it raises."""
    try:
        return plain(call())
    except (IPCError, ValueError, TypeError, KeyError, OverflowError) as exc:
        fields = (exc.size, exc.key) if isinstance(exc, TableFull) else ()
        return type(exc), str(exc), fields


class TablesAgree(RuleBasedStateMachine):
    """A table and its reference, and the blocks of lock() that are open in both."""

    @initialize(size=st.integers(1, 8), made=st.booleans())
    def make(self, size, made):
        self.blocks = []  # (both blocks, both rows), in the order of entry
        if made:
            self.tables = [kind(size, columns=COLUMNS, key_size=4) for kind in (Table, MemoryTable)]
        else:
            self.tables = [kind(size, key_size=4) for kind in (Table, MemoryTable)]
            for name, column in COLUMNS.items():
                self.both(lambda table: table.column(name, column.kind, column.size) is table)
            self.both(lambda table: table.create() is table)

    def both(self, call):
        real, reference = (answer(lambda table=table: call(table)) for table in self.tables)
        assert real == reference
        return real

    @rule(key=KEYS, row=ROWS)
    def set(self, key, row):
        self.both(lambda table: table.set(key, row))

    @rule(key=KEYS, row=ROWS)
    def replace(self, key, row):
        self.both(lambda table: table.__setitem__(key, row))

    @rule(key=KEYS, row=ROWS)
    def add(self, key, row):
        self.both(lambda table: table.add(key, row))

    @rule(key=KEYS, column=st.none() | ODD_NAMES, default=st.sampled_from([None, 5, "d"]))
    def get(self, key, column, default):
        self.both(lambda table: table.get(key, column, default))

    @rule(key=KEYS)
    def look(self, key):
        self.both(lambda table: table[key])
        self.both(lambda table: key in table)
        self.both(lambda table: table.exists(key))

    @rule(key=KEYS, how=st.sampled_from(["delete", "pop", "__delitem__"]))
    def delete(self, key, how):
        self.both(lambda table: getattr(table, how)(key))

    @rule(key=KEYS, cell=cells(), down=st.booleans())
    def count(self, key, cell, down):
        self.both(lambda table: (table.decr if down else table.incr)(key, *cell))

    @rule(key=KEYS, column=NAMES, down=st.booleans())
    def count_one(self, key, column, down):
        self.both(lambda table: (table.decr if down else table.incr)(key, column))

    @rule(key=KEYS, cell=cells(2))
    def compare_and_set(self, key, cell):
        self.both(lambda table: table.compare_and_set(key, *cell))

    @rule(key=KEYS, cell=cells(), there=st.booleans())
    def compare_what_is_there(self, key, cell, there):
        name, value = cell
        old = answer(lambda: self.tables[1].get(key, name))
        if there and not isinstance(old, tuple) and old != "None":
            expected = self.tables[1].get(key, name)
            self.both(lambda table: table.compare_and_set(key, name, expected, value))

    @rule(key=KEYS, timeout=st.sampled_from([None, 0, 0.01, math.inf, -1, math.nan, "1"]))
    def enter(self, key, timeout):
        blocks, rows = [], []

        def lock(table):
            block = table.lock(key, timeout)
            rows.append(block.__enter__())
            blocks.append(block)
            return dict(rows[-1])

        self.both(lock)
        if rows:
            self.blocks.append((blocks, rows))

    @precondition(lambda self: self.blocks)
    @rule(number=st.integers(0, 7), cell=cells(), delete=st.integers(0, 9).map(lambda n: n == 0))
    def change(self, number, cell, delete):
        _, rows = self.blocks[number % len(self.blocks)]
        name, value = cell

        def change(row):
            if delete:
                del row[name]
            else:
                row[name] = value
            return row[name], dict(row)

        real, reference = (answer(lambda row=row: change(row)) for row in rows)
        assert real == reference

    @precondition(lambda self: self.blocks)
    @rule(number=st.integers(0, 7), fail=st.booleans())
    def leave(self, number, fail):
        blocks, rows = self.blocks.pop(number % len(self.blocks))
        self.out(blocks, fail)
        for row in rows:
            assert answer(lambda row=row: row["n"])[0].__name__ == "MisuseError"

    @rule(row=ROWS, key=st.sampled_from(SHORT))
    def a_whole_block(self, row, key):
        def change(table):
            with table.lock(key) as locked:
                locked.update(row if isinstance(row, dict) else {})

        self.both(change)

    @rule()
    def misuse(self):
        self.both(lambda table: table.create())
        self.both(lambda table: table.column("late", Int()))

    @invariant()
    def same_contents(self):
        if not hasattr(self, "tables"):
            return
        for view in (len, lambda table: table.count(), lambda table: table.size):
            self.both(view)
        self.both(lambda table: sorted(map(repr, table)))
        self.both(lambda table: sorted(map(repr, table.keys())))
        self.both(lambda table: sorted(repr(plain(row)) for row in table.values()))
        self.both(lambda table: sorted((repr(key), plain(row)) for key, row in table.items()))

        def numbers(table):
            now = table.statistics()
            return now.size, now.rows, now.key_size, now.row_bytes, now.columns

        self.both(numbers)
        assert [table.verify() for table in self.tables] == [[], []]

    def teardown(self):
        if not hasattr(self, "tables"):
            return
        for blocks, _ in self.blocks:
            self.out(blocks, fail=True)
        self.blocks = []
        self.same_contents()
        for table in self.tables:
            table.close()

    def out(self, blocks, fail):
        """Leave a block in both tables, by an exception or in order."""
        for block in blocks:
            if fail:
                error = ZeroDivisionError()
                assert not pass_on(block, error)
            else:
                block.__exit__(None, None, None)


def pass_on(block, error):
    """Whether a block swallows an exception."""
    try:
        return bool(block.__exit__(type(error), error, None))
    except ZeroDivisionError:
        return False


TestTablesAgree = TablesAgree.TestCase
TestTablesAgree.settings = settings(max_examples=200, stateful_step_count=40)

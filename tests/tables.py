"""What the table suites share: the tables there are, one set of columns, and every writing call."""

from __future__ import annotations

import threading

import pytest
from deadlines import LOOK

from ipckit.table import Bytes, Float, Int, MemoryTable, Str, Table

MOMENT = 0.03  # seconds given to a thread to do what it must not do

TABLES = {"memory": MemoryTable, "shared": Table}

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
        thread.join(LOOK)
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
    with table.lock(key, timeout=LOOK) as row:
        row["n"] = 1

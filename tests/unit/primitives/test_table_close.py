"""close() beside a call that is inside the table: in the same thread, in another one, after a fork
(python/segments/hazards.c: Z1 to Z3).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping

import pytest
from deadlines import LOOK
from family import all_well, family

from ipckit import Int, Table

COLUMNS = {"n": Int(), "by": Int()}
DEEPEST = 64


def mappings() -> int:
    with open("/proc/self/maps") as maps:
        return sum("memfd:ipckit.table" in line for line in maps)


class Row(Mapping):
    """A row whose value is asked for in the middle of the call that writes it."""

    def __init__(self, ask) -> None:
        self._ask = ask

    def __getitem__(self, name):
        return self._ask()

    def __iter__(self):
        return iter(["n"])

    def __len__(self):
        return 1


CLOSES_INSIDE = """
from collections.abc import Mapping
import sys
from ipckit import Int, Table

class Row(Mapping):
    def __getitem__(self, name):
        table.close()
        filled = [bytes(200) for _ in range(1000)]
        return 7

    def __iter__(self):
        return iter(["n"])

    def __len__(self):
        return 1

class Step(int):
    def __index__(self):
        table.close()
        return 2

name = sys.argv[1]
other = Table(10, columns={"n": Int(), "by": Int()}, name=name)
try:
    other["k"] = {"n": 1, "by": 1}
    for call in (
        lambda: table.set("k", Row()),
        lambda: table.add("new", Row()),
        lambda: table.__setitem__("k", Row()),
    ):
        table = Table.open(name)
        table.incr("k", "by")  # it has a slot
        call()
    assert dict(other.items()) == {"k": {"n": 7, "by": 0}, "new": {"n": 7, "by": 0}}, dict(other.items())
    assert other.verify() == []
finally:
    other.remove()
"""


def test_a_call_whose_arguments_close_the_table_is_done_whole():
    """Freed memory has other bytes (mallopt(3), M_PERTURB): the call uses none of it."""
    done = subprocess.run(
        [sys.executable, "-c", CLOSES_INSIDE, f"test-close-{os.getpid()}"],
        env={**os.environ, "MALLOC_PERTURB_": "165"},
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_calls_inside_each_other_have_a_limit():
    """The call that is too deep changes nothing, and the table serves as before."""
    with Table(200, columns=COLUMNS) as table:

        def deeper(depth: int) -> int:
            if depth:
                table.set(f"{depth}", Row(lambda: deeper(depth - 1)))
            return depth

        deeper(DEEPEST)
        assert len(table) == DEEPEST
        with pytest.raises(
            RecursionError, match=f"{DEEPEST} calls of tables run inside each other"
        ):
            deeper(DEEPEST + 1)
        assert len(table) == DEEPEST
        table["k"] = {"n": 1}
        assert table.verify() == []


class Name(str):
    """A column's name; the call that looks for the column asks for its hash, and waits inside."""

    __slots__ = ("go_on", "inside")

    def __init__(self, _: str) -> None:
        self.inside, self.go_on = threading.Event(), threading.Event()

    def __hash__(self) -> int:
        self.inside.set()
        self.go_on.wait(LOOK)
        return super().__hash__()


@pytest.fixture
def reading():
    """A table, the name that another thread asks it for, and that thread, inside the call."""
    table, name, found = Table(10, columns=COLUMNS), Name("n"), []
    table["k"] = {"n": 7}
    thread = threading.Thread(target=lambda: found.append(table.get("k", name)))
    thread.start()
    assert name.inside.wait(LOOK)
    yield table, name, thread
    name.go_on.set()
    thread.join()
    assert found == [7]
    table.close()


def test_a_table_that_is_closed_beside_a_call_is_unmapped_when_that_leaves(reading):
    table, name, thread = reading
    before = mappings()
    table.close()
    assert mappings() == before, "the call is inside"
    name.go_on.set()
    thread.join()
    assert mappings() == before - 1


def test_a_forked_child_has_no_call_of_its_parents_other_threads(reading):
    table, _, _ = reading

    def in_child() -> None:
        before = mappings()
        table.close()
        assert mappings() == before - 1

    with family() as start:
        assert all_well(start(in_child))


def test_two_threads_close_one_table(reading):
    """One of them has the segment, and the other nothing to do."""
    table, name, thread = reading
    before = mappings()
    closers = [threading.Thread(target=table.close) for _ in range(2)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join()
    assert mappings() == before
    name.go_on.set()
    thread.join()
    with Table(1, columns=COLUMNS) as other:
        other.incr("k", "n")  # this thread wrote to the table: it gives its slot back now
    assert mappings() == before - 1

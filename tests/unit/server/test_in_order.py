"""What is added while something is done comes after what is there (ipckit.server.supervision.in_order)."""

from __future__ import annotations

import pytest

from ipckit.server.supervision.in_order import InOrder


def test_what_is_added_meanwhile_comes_last():
    """F30: the end of a reload is carried out before what follows from a refused fork."""
    done: list[str] = []

    def do(thing: str) -> None:
        done.append(thing)
        if thing == "a":
            in_order(["c", "d"])
            assert done == ["a"]

    in_order = InOrder(do)
    in_order(["a", "b"])
    in_order([])
    in_order(["e"])
    assert done == ["a", "b", "c", "d", "e"]


def test_what_an_exception_left_is_done_by_the_next_call():
    done: list[int] = []

    def do(thing: int) -> None:
        done.append(10 // thing)

    in_order = InOrder(do)
    with pytest.raises(ZeroDivisionError):
        in_order([5, 0, 2])
    in_order([1])
    assert done == [2, 5, 10]

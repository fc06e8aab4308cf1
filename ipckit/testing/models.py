"""Sequential models of common objects, ready for `check()` and for `ProcessMachine.specification`.

Each says which operation names it knows, with their arguments and results; another name raises
MachineError, so that a machine's mistake is not taken for the object's. States are immutable.
Pure.
"""

from __future__ import annotations

import inspect
import queue
from collections import Counter as Bag
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from ipckit.testing.errors import MachineError
from ipckit.testing.histories.operation import Operation
from ipckit.testing.histories.values import Raised, frozen, same
from ipckit.testing.judging.fifo import fifo_possible

__all__ = ["AtLeastOnce", "Counter", "Dict", "FifoQueue", "Lock", "Register"]


class _Model:
    """A model whose methods are the operations: ``name(state, **arguments) -> (state, result)``."""

    def step(self, state: Any, operation: Operation) -> Any:
        """Do `operation` on `state`. MachineError: it has no such name, or other arguments."""
        does = self._does(operation.name)
        try:
            return does(state, **operation.arguments)
        except TypeError as error:
            try:
                inspect.signature(does).bind(state, **operation.arguments)
            except TypeError:
                raise MachineError(
                    f"{type(self).__name__}'s {operation.name} takes"
                    f" {list(inspect.signature(does).parameters)[1:]}, not"
                    f" {sorted(operation.arguments)}"
                ) from error
            raise

    def _does(self, name: str) -> Callable[..., Any]:
        does = getattr(self, f"do_{name}", None)
        if does is None:
            known = sorted(each[3:] for each in dir(self) if each.startswith("do_"))
            raise MachineError(f"{type(self).__name__} has no operation {name!r}, only {known}")
        return does  # type: ignore[no-any-return]


class Counter(_Model):
    """An integer: ``add(by=1)`` and ``sub(by=1)`` give the new value, ``get()`` the value."""

    def __init__(self, start: int = 0) -> None:
        self.start = start

    def init(self) -> int:
        """Begin at `start`."""
        return self.start

    def do_add(self, state: int, by: int = 1) -> Any:
        return state + by, state + by

    def do_sub(self, state: int, by: int = 1) -> Any:
        return state - by, state - by

    def do_get(self, state: int) -> Any:
        return state, state


class Register(_Model):
    """One value: ``read()``; ``write(value)`` gives None; ``compare_and_set(old, new)`` a bool."""

    def __init__(self, start: Any = None) -> None:
        self.start = start

    def init(self) -> Any:
        """Begin with `start`."""
        return self.start

    def do_read(self, state: Any) -> Any:
        return state, state

    def do_write(self, _state: Any, value: Any) -> Any:
        return value, None

    def do_compare_and_set(self, state: Any, old: Any, new: Any) -> Any:
        return (new, True) if same(state, old) else (state, False)


class Dict(_Model):
    """A dict by key: ``get(key)``, ``set(key, value)``, ``delete(key)``, ``pop(key)``, ``exists``.

    `get` and `pop` of a missing key give None; `set` gives None; `delete` says whether there was
    one. It is split by ``key``.
    """

    MISSING = ("missing",)

    def init(self) -> Any:
        """Begin with the key missing."""
        return self.MISSING

    def partition(self, operation: Operation) -> Hashable:
        """Each key is a part of its own."""
        return frozen(operation.arguments["key"])  # type: ignore[no-any-return]

    def do_get(self, state: Any, key: Any) -> Any:  # noqa: ARG002 - the part is the key
        return state, None if state is self.MISSING else state

    def do_set(self, _state: Any, key: Any, value: Any) -> Any:  # noqa: ARG002
        return value, None

    def do_delete(self, state: Any, key: Any) -> Any:  # noqa: ARG002
        return self.MISSING, state is not self.MISSING

    def do_pop(self, state: Any, key: Any) -> Any:  # noqa: ARG002
        return self.MISSING, None if state is self.MISSING else state

    def do_exists(self, state: Any, key: Any) -> Any:  # noqa: ARG002
        return state, state is not self.MISSING


class FifoQueue(_Model):
    """A queue: ``put(value)`` gives None; ``get()`` the oldest value, or raises `empty`.

    `size`: the most values it holds; None: any number. A `put` beyond it raises `full`. Unique
    values are judged by an O(n log n) monitor.
    """

    def __init__(
        self,
        size: int | None = None,
        *,
        empty: type[Exception] = queue.Empty,
        full: type[Exception] = queue.Full,
    ) -> None:
        self.size, self.empty, self.full = size, empty, full

    def init(self) -> tuple[Any, ...]:
        """Begin empty."""
        return ()

    def do_put(self, state: tuple[Any, ...], value: Any) -> Any:
        if self.size is not None and len(state) >= self.size:
            raise self.full
        return (*state, value), None

    def do_get(self, state: tuple[Any, ...]) -> Any:
        if not state:
            raise self.empty
        return state[1:], state[0]

    def monitor(self, operations: Sequence[Operation]) -> bool | None:
        """Judge without a search where values are unique, nothing was cut, and nothing was full."""
        if self.size is not None:
            return None
        return fifo_possible(operations, Raised.of(self.empty()))


class Lock(_Model):
    """A lock: ``acquire(owner)`` and ``release(owner)`` give whether it was done.

    For locks that are tried, not waited for: an `acquire` that waits returns only when it has the
    lock, and fits the model as well, as its call is as long as the wait.
    """

    def init(self) -> Any:
        """Begin free."""
        return None

    def do_acquire(self, state: Any, owner: Any) -> Any:
        return (owner, True) if state is None else (state, False)

    def do_release(self, state: Any, owner: Any) -> Any:
        return (None, True) if state == owner else (state, False)


class AtLeastOnce(_Model):
    """Delivery in any order, where a repetition is allowed and a loss is not.

    ``send(value)`` gives None; ``receive()`` gives a value that was sent, or None where every
    value sent so far has been received at least once.
    """

    def init(self) -> Any:
        """Begin with nothing sent."""
        return frozenset(), frozenset()  # sent, and of these received

    def do_send(self, state: Any, value: Any) -> Any:
        sent, received = state
        return (sent | {value}, received - {value}), None

    def do_receive(self, state: Any) -> Any:
        sent, received = state
        if sent == received:
            return [(state, None), *(((sent, received), value) for value in sent)]
        return [((sent, received | {value}), value) for value in sent]


def conserved(sent: Sequence[Any], kept: Sequence[Any], gone: Sequence[Any]) -> bool:
    """Whether what went in is what is left and what came out, each as often."""
    return Bag(map(frozen, sent)) == Bag(map(frozen, [*kept, *gone]))

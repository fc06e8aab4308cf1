"""What a user says about an object under test: its operations, their model, and the settings.

Contract  Everything that can be wrong about a class is found by `examine`, as MachineError.
          `Machine` is what the engines and the search need; users subclass `ProcessMachine`
          (`machine.py`), which adds the test case.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar

from ipckit.testing.errors import MachineError
from ipckit.testing.histories.history import History
from ipckit.testing.histories.operation import Operation
from ipckit.testing.histories.values import frozen, own_copy
from ipckit.testing.judging.checker import Model
from ipckit.testing.programs.program import Call, Kill, Stop

ENGINES = ("real", "stepped", "ptrace")


class Op:
    """An operation of a machine: the function, its arguments' strategies, and its model."""

    def __init__(self, function: Callable[..., Any], strategies: Mapping[str, Any]) -> None:
        self.function = function
        self.strategies = dict(strategies)
        self.in_model: Callable[..., Any] | None = None
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn the name it has in its class."""
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Give the function bound to a machine, or this description to its class."""
        return self if instance is None else self.function.__get__(instance, owner)

    def model(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Say what the operation does to the model: ``(self, state, **arguments)``.

        It gives ``(new_state, result)``, or a list of such pairs where several are right; an
        exception it raises is the result expected, and leaves the state. `state` may be changed
        in place: it is a copy.
        """
        self.in_model = function
        return function


def op(**strategies: Any) -> Callable[[Callable[..., Any]], Op]:
    """Declare an operation; each argument has a hypothesis strategy. Use ``@op()`` for none.

    The method runs in one of several processes, and should return soon whatever the others do: one
    that has not at the machine's `deadline` is a failure. What it returns must be picklable plain
    data; what it raises is its result. TypeError: an argument's value is no strategy.
    """
    known = sys.modules.get("hypothesis.strategies")  # not loaded: then nothing can be a strategy
    for name, value in strategies.items():
        if known is None or not isinstance(value, known.SearchStrategy):
            raise TypeError(
                f"{name}={value!r}: must be a hypothesis strategy, e.g. strategies.integers() or "
                f"strategies.just({value!r})"
            )

    def declare(function: Callable[..., Any]) -> Op:
        return Op(function, strategies)

    return declare


def invariant(*, when: str = "quiet") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a method ``(self, history)`` that asserts what must hold.

    `when` is ``"quiet"``: every call has been made, and the processes that were not killed are
    alive and at rest. It runs in the parent. A subclass replaces one by a method of the same
    name, which is an invariant if it is declared so. ValueError for another `when`.
    """
    if when != "quiet":
        raise ValueError(f'when={when!r}: must be "quiet" (all calls made, all processes at rest)')

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        function._ipckit_invariant = when  # type: ignore[attr-defined]
        return function

    return declare


class Machine:
    """The settings, operations and model of an object; the settings are `ProcessMachine`'s."""

    processes: ClassVar[int] = 3
    operations: ClassVar[int] = 4
    before: ClassVar[int] = 3
    after: ClassVar[int] = 2
    examples: ClassVar[int] = 100
    runs: ClassVar[int] = 10
    seconds: ClassVar[float | None] = None
    deadline: ClassVar[float] = 5.0
    judge: ClassVar[float] = 5.0
    overlap: ClassVar[float] = 0.01
    engine: ClassVar[str] = "real"
    libraries: ClassVar[Sequence[str]] = ()
    partition: ClassVar[str | None] = None
    faults: ClassVar[Sequence[Kill | Stop]] = ()
    specification: ClassVar[Model | None] = None

    def setup(self) -> None:
        """Make the object, in the parent, before a run's processes are forked."""

    def teardown(self) -> None:
        """Unmake it, in the parent, after the run, however that ended."""

    def model(self) -> Any:
        """Give the model's first state, of each part if there is a partition."""
        if self.specification is None:
            raise MachineError(f"{type(self).__name__} has neither model() nor a specification")
        return self.specification.init()

    # What the harness asks.

    @classmethod
    def ops(cls) -> dict[str, Op]:
        """Give the operations by name. MachineError: there is none, or one is incomplete."""
        found = {
            name: each
            for base in reversed(cls.__mro__)
            for name, each in vars(base).items()
            if isinstance(each, Op)
        }
        if not found:
            raise MachineError(
                f"{cls.__name__} has no operation: it needs one or more; mark methods with @op(...)"
            )
        for name, each in found.items():
            if each.in_model is None and cls.specification is None:
                raise MachineError(f"{cls.__name__}.{name} has no model: add @{name}.model")
            if cls.partition is not None and cls.partition not in each.strategies:
                raise MachineError(
                    f"{cls.__name__}.{name} has no argument {cls.partition!r}, by which partition"
                    f" splits the object; its arguments: {sorted(each.strategies)}"
                )
        return found

    @classmethod
    def examine(cls) -> None:
        """See whether the class can be run. MachineError: which setting, and what it may be."""
        cls.ops()
        for name, low, high in (
            ("processes", 2, 16), ("operations", 1, 256), ("before", 0, 256), ("after", 0, 256),
            ("examples", 1, None), ("runs", 1, None),
        ):  # fmt: skip
            value = getattr(cls, name)
            if not isinstance(value, int) or value < low or (high is not None and value > high):
                span = f"{low} or more" if high is None else f"{low}..{high}"
                raise MachineError(f"{cls.__name__}.{name}={value!r}: must be an int of {span}")
        for name, least, most in (
            ("seconds", 0, math.inf), ("deadline", 0.001, math.inf), ("judge", 0.001, math.inf),
            ("overlap", 0, 1),
        ):  # fmt: skip
            number = getattr(cls, name)
            if name == "seconds" and number is None:
                continue
            if not isinstance(number, int | float) or not least <= number <= most:
                span = f"{least} or more" if most == math.inf else f"{least}..{most}"
                raise MachineError(f"{cls.__name__}.{name}={number!r}: must be a number of {span}")
        if cls.engine not in ENGINES:
            raise MachineError(
                f"{cls.__name__}.engine={cls.engine!r}: must be one of {', '.join(ENGINES)}"
            )
        for name in ("libraries", "faults"):
            value = getattr(cls, name)
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise MachineError(f"{cls.__name__}.{name}={value!r}: must be a list or a tuple")
        for fault in cls.faults:
            if not isinstance(fault, Kill | Stop):
                raise MachineError(
                    f"{cls.__name__}.faults has {fault!r}: must be Kill() and Stop() objects"
                )
            if cls.engine != "real" and isinstance(fault, Stop):
                raise MachineError(
                    f"{cls.__name__}: engine {cls.engine!r} holds processes anyway; Stop() is for"
                    " 'real'"
                )
            if cls.engine == "ptrace" and fault.at not in (None, "inside"):
                raise MachineError(
                    f"{cls.__name__}: engine 'ptrace' kills between two instructions:"
                    f" Kill(), not Kill(at={fault.at!r})"
                )

    def perform(self, call: Call) -> Any:
        """Make a call, in the process that is to make it."""
        return getattr(self, call.name)(**call.arguments)

    def ask_invariants(self, history: History) -> None:
        """Call every invariant; whatever it raises comes out, InvariantBroken around it.

        Of one name only that of the most derived class, as for any method; `_` is no name.
        """
        cls = type(self)
        for base in reversed(cls.__mro__):
            for name, each in vars(base).items():
                if not hasattr(each, "_ipckit_invariant"):
                    continue
                if name != "_" and inspect.getattr_static(cls, name) is not each:
                    continue
                try:
                    each(self, history)
                except Exception as error:
                    raise InvariantBroken(name, error, history) from error

    def sequential(self) -> Model:
        """Give the model as `check()` wants it."""
        return _PartedModel(self) if self.partition is not None else _MachineModel(self)


class InvariantBroken(Exception):
    """An invariant raised; the history is the run's."""

    def __init__(self, name: str, error: Exception, history: History) -> None:
        super().__init__(f"{name}: {type(error).__name__}: {error}")
        self.history = history


class _MachineModel:
    """A machine's own model."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.ops = machine.ops()
        if not any(each.in_model for each in self.ops.values()):
            specification = machine.specification
            # A monitor judges from the specification's own first state.
            own_start = type(machine).model is not Machine.model
            for optional in ("partition",) if own_start else ("monitor", "partition"):
                if hasattr(specification, optional):
                    setattr(self, optional, getattr(specification, optional))

    def init(self) -> Any:
        return self.machine.model()

    def step(self, state: Any, operation: Operation) -> Any:
        in_model = self.ops[operation.name].in_model
        if in_model is None:
            assert self.machine.specification is not None  # ops() has seen to it
            return self.machine.specification.step(state, operation)
        return in_model(self.machine, own_copy(state), **operation.arguments)


class _PartedModel(_MachineModel):
    """The same, split by an argument."""

    def partition(self, operation: Operation) -> Hashable:
        part: Hashable = frozen(operation.arguments[self.machine.partition or ""])
        return part

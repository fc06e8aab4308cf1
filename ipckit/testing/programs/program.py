"""What the processes of one run are to do: data, drawn whole before anything runs.

Contract  A `Program` says which calls are made before the processes part (`before`), by each of
          them (`branches`), and when all are done or dead (`after`); in which of them a fault is
          injected (`faults`); and `timing`, the number from which every delay, moment and schedule
          of its runs is computed. So equal programs are tried in equal ways.
          Hypothesis shrinks it towards two processes, few calls, no fault, timing 0.
Pure. Stands on hypothesis for the strategies only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ipckit.testing.histories.values import comes_back, from_json, to_json

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy


def _check_moment(at: object) -> None:
    if at is None or (isinstance(at, str) and at):
        return
    raise (ValueError if at == "" else TypeError)(
        f'at={at!r}: must be "start", "inside", "end" or the name of a kill_point, or None for any '
        "moment"
    )


@dataclass(frozen=True)
class Kill:
    """End a process by SIGKILL in one of its operations.

    `at`: ``"start"`` (called, nothing done), ``"end"`` (all done, not yet returned), ``"inside"``
    (between two of its Python instructions, or at any moment of its C code), the name of a
    `kill_point`, or None: any of these. It is drawn which process and operation, and whether. An
    operation that does not come to the `kill_point` leaves the fault to the process's next one.
    """

    at: str | None = None
    kind = "kill"

    def __post_init__(self) -> None:
        """Refuse what is no moment: TypeError, ValueError."""
        _check_moment(self.at)


@dataclass(frozen=True)
class Stop:
    """Stop a process by SIGSTOP in one of its operations, and continue it when others are done.

    `at` as for `Kill`. Others that wait for the stopped one are given 50 ms, then it goes on.
    """

    at: str | None = None
    kind = "stop"

    def __post_init__(self) -> None:
        """Refuse what is no moment: TypeError, ValueError."""
        _check_moment(self.at)


@dataclass(frozen=True)
class Call:
    """One call to make: the operation's name, and its arguments by name."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Show it as a call."""
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.arguments.items())})"


@dataclass(frozen=True)
class Fault:
    """A fault to inject: ``kill`` or ``stop``, the branch, its operation, and where in it."""

    kind: str
    process: int
    operation: int
    at: str


@dataclass(frozen=True)
class Program:
    """See the head."""

    before: tuple[Call, ...]
    branches: tuple[tuple[Call, ...], ...]
    after: tuple[Call, ...]
    faults: tuple[Fault, ...] = ()
    timing: int = 0

    def key(self) -> str:
        """Give a text that equal programs share."""
        return json.dumps(self.to_json(), sort_keys=True)

    def count(self) -> int:
        """Count the calls."""
        return len(self.before) + sum(map(len, self.branches)) + len(self.after)

    def weight(self) -> tuple[int, int, int, int]:
        """Give what a smaller program has less of, the most wanted first."""
        text = str(self)
        return len(self.branches), self.count(), len(self.faults), len(text)

    def size(self) -> str:
        """Say how big it is."""
        return f"{len(self.branches)} processes, {self.count()} operations"

    def replayable(self) -> bool:
        """Whether a file can keep it: all arguments come back from JSON."""
        calls = (*self.before, *(call for branch in self.branches for call in branch), *self.after)
        return all(comes_back(dict(call.arguments)) for call in calls)

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form."""

        def calls(each: Sequence[Call]) -> list[Any]:
            return [[call.name, to_json(dict(call.arguments))] for call in each]

        return {
            "before": calls(self.before),
            "branches": [calls(branch) for branch in self.branches],
            "after": calls(self.after),
            "faults": [vars(fault) for fault in self.faults],
            "timing": self.timing,
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Program:
        """Give the program back."""

        def calls(each: Sequence[Any]) -> tuple[Call, ...]:
            return tuple(Call(name, from_json(arguments)) for name, arguments in each)

        return cls(
            before=calls(form["before"]),
            branches=tuple(calls(branch) for branch in form["branches"]),
            after=calls(form["after"]),
            faults=tuple(Fault(**fault) for fault in form["faults"]),
            timing=form["timing"],
        )

    def __str__(self) -> str:
        """Show it lane by lane."""
        lines = []
        if self.before:
            lines.append("before     " + "; ".join(map(str, self.before)))
        for index, branch in enumerate(self.branches):
            lines.append(f"process {index}  " + "; ".join(map(str, branch)))
        if self.after:
            lines.append("after      " + "; ".join(map(str, self.after)))
        for fault in self.faults:
            call = self.branches[fault.process][fault.operation]
            named = fault.at not in ("start", "inside", "end")
            where = f"{call} or after it, at {fault.at!r}" if named else f"{call}, {fault.at}"
            lines.append(f"{fault.kind} of process {fault.process} in {where}")
        return "\n".join(lines)


def programs(
    operations: Mapping[str, Mapping[str, SearchStrategy[Any]]],
    *,
    processes: int,
    length: int,
    before: int,
    after: int,
    faults: Sequence[Kill | Stop],
) -> SearchStrategy[Program]:
    """Give the strategy of all programs of these operations, at most so long."""
    from hypothesis import strategies as st  # noqa: PLC0415 - the extra `testing`

    def calls_of(name: str, arguments: Mapping[str, SearchStrategy[Any]]) -> SearchStrategy[Call]:
        return st.fixed_dictionaries(dict(arguments)).map(lambda given: Call(name, given))

    calls = st.one_of([calls_of(name, arguments) for name, arguments in operations.items()])

    # Faults that are declared should be frequent, most of them inside an operation; hypothesis
    # draws what comes first more often.
    how_many = st.sampled_from([1, 1, 2, 0])
    where = st.sampled_from(["inside", "inside", "inside", "inside", "end", "start"])

    @st.composite
    def program(draw: DrawFn) -> Program:
        first = tuple(draw(st.lists(calls, max_size=before)))
        count = draw(st.integers(2, processes))
        branches = tuple(
            tuple(draw(st.lists(calls, min_size=1, max_size=length))) for _ in range(count)
        )
        last = tuple(draw(st.lists(calls, max_size=after)))
        injected: dict[int, Fault] = {}  # one fault for each process is plenty
        for _ in range(draw(how_many) if faults else 0):
            wish = draw(st.sampled_from(list(faults)))
            process = draw(st.integers(0, count - 1))
            operation = draw(st.integers(0, len(branches[process]) - 1))
            at = wish.at or draw(where)
            injected[process] = Fault(wish.kind, process, operation, at)
        return Program(first, branches, last, tuple(injected.values()), draw(st.integers(0, 255)))

    return program()

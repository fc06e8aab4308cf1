"""Programs that do less: what may be left of one that fails.

Contract  Each program given makes fewer calls, suffers fewer faults, or has fewer processes; every
          fault is still of a call that is made, and two processes are left.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ipckit.testing.histories.history import History
from ipckit.testing.judging.checker import Verdict
from ipckit.testing.programs.program import Call, Program

PAIRS_UP_TO = 8
"""Calls of a program of which every two are left out by way of trial."""


def essence(program: Program, history: History, verdict: Verdict | None) -> Iterator[Program]:
    """Give the program of the counter-example's calls alone, if others were made as well."""
    if verdict is None or verdict.counter_example is None:
        return
    needed = {(each.process, each.called) for each in verdict.counter_example}
    made: dict[int, list[bool]] = {}
    for each in history:
        made.setdefault(each.process, []).append((each.process, each.called) in needed)
    first = len(program.before)
    keep = [
        made.get(lane, [])[first if lane == 0 else 0 :] for lane in range(len(program.branches))
    ]
    lanes = [lane for lane, kept in enumerate(keep) if any(kept)]
    if len(lanes) < 2:
        return
    faults = []
    for fault in program.faults:
        kept = keep[fault.process]
        if fault.operation < len(kept) and kept[fault.operation]:
            operation = sum(kept[: fault.operation])
            faults.append(replace(fault, process=lanes.index(fault.process), operation=operation))
    candidate = replace(
        program,
        before=_chosen(program.before, made.get(0, [])),
        branches=tuple(_chosen(program.branches[lane], keep[lane]) for lane in lanes),
        after=_chosen(program.after, made.get(len(program.branches), [])),
        faults=tuple(faults),
    )
    if candidate.count() < program.count():
        yield candidate


def _chosen(calls: tuple[Call, ...], kept: list[bool]) -> tuple[Call, ...]:
    return tuple(call for call, keep in zip(calls, kept, strict=False) if keep)


def smaller(program: Program) -> Iterator[Program]:
    """Give the programs that one thing less makes."""
    for index in range(len(program.faults)):
        yield replace(program, faults=_without(program.faults, index))
    for lane in range(len(program.branches)):
        if len(program.branches) > 2:
            faults = tuple(
                replace(each, process=each.process - (each.process > lane))
                for each in program.faults
                if each.process != lane
            )
            fewer = replace(program, branches=_without(program.branches, lane), faults=faults)
            yield fewer
            yield replace(fewer, before=(*program.before, *program.branches[lane]))
            yield replace(fewer, after=(*program.branches[lane], *program.after))
    for index in range(len(program.before)):
        yield replace(program, before=_without(program.before, index))
    for index in range(len(program.after)):
        yield replace(program, after=_without(program.after, index))
    yield from _in_place(program)
    for lane, branch in enumerate(program.branches):
        for index in range(len(branch)):
            if len(branch) > 1 and not any(
                each.process == lane and each.operation == index for each in program.faults
            ):
                branches = list(program.branches)
                branches[lane] = _without(branch, index)
                faults = tuple(
                    replace(each, operation=each.operation - 1)
                    if each.process == lane and each.operation > index
                    else each
                    for each in program.faults
                )
                yield replace(program, branches=tuple(branches), faults=faults)


def _in_place(program: Program) -> Iterator[Program]:
    """Let a call made before or after all others take the place of a process's only one."""
    for lane, branch in enumerate(program.branches):
        if len(branch) > 1 or any(fault.process == lane for fault in program.faults):
            continue
        around = program.branches[:lane], program.branches[lane + 1 :]
        for index, call in enumerate(program.before):
            branches = (*around[0], (call,), *around[1])
            yield replace(program, branches=branches, before=_without(program.before, index))
        for index, call in enumerate(program.after):
            branches = (*around[0], (call,), *around[1])
            yield replace(program, branches=branches, after=_without(program.after, index))


def smaller_by_two(program: Program) -> Iterator[Program]:
    """Give the programs that two things less make, if there are not too many: of a pair such as
    put and get, neither can be left out alone.
    """
    if program.count() <= PAIRS_UP_TO:
        for one in smaller(program):
            yield from smaller(one)


def _without(items: tuple[Any, ...], index: int) -> tuple[Any, ...]:
    return items[:index] + items[index + 1 :]

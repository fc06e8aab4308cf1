"""The direction of `#include`s in the C core: rooms in one order, no circle, no room without a place."""

from __future__ import annotations

import re
import shutil
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "ipckit" / "_core"

ROOMS = [
    ["base"],
    ["process", "locks", "sessions"],
    ["queues", "table", "ledger", "shared_queue"],
    ["trace"],
    ["python"],
    [
        "python/segments",
        "python/ledger",
        "python/queues",
        "python/channel",
        "python/stream",
        "python/accept",
    ],
    ["python/sync", "python/shared_queue"],
    ["python/table"],
]
"""Each folder includes from folders of earlier lines and from itself: never from its own line."""
FOR_TESTS = {"trace"}
"""No other folder includes from these."""

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def sources(core: Path) -> dict[str, list[str]]:
    """What each file of the core includes, both as paths from `core`."""
    files = sorted(path for path in core.rglob("*") if path.suffix in {".c", ".h"})
    return {path.relative_to(core).as_posix(): INCLUDE.findall(path.read_text()) for path in files}


def room(path: str) -> str:
    return path.rpartition("/")[0]


def faults(core: Path) -> list[str]:
    """Everything that breaks the rule, in words; none: the rule is kept."""
    files = sources(core)
    place = {name: number for number, line in enumerate(ROOMS) for name in line}
    found = [f"{name}/ has no place in ROOMS" for name in sorted({*map(room, files)} - {*place})]
    found += [
        f"{name}/ is in ROOMS and has no files"
        for name in place
        if not any(room(f) == name for f in files)
    ]
    for path, names in files.items():
        for name in names:
            if name not in files:
                found.append(f"{path} includes {name}: not a path from _core")
                continue
            here, there = room(path), room(name)
            if here == there or here not in place or there not in place:
                continue
            if place[there] >= place[here]:
                found.append(f"{path} includes {name}: {there}/ is not below {here}/")
            elif there in FOR_TESTS:
                found.append(f"{path} includes {name}: {there}/ is for tests")
            elif name.endswith("/internal.h"):
                found.append(f"{path} includes {name}: it is {there}/'s own")
    try:
        TopologicalSorter(files).prepare()
    except CycleError as circle:
        found.append("a circle: " + " -> ".join(circle.args[1]))
    return found


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(CORE, tmp_path / "_core", ignore=shutil.ignore_patterns("*.so", "*.py*"))
    return tmp_path / "_core"


def plant(copy: Path, path: str, included: str) -> list[str]:
    file = copy / path
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as text:
        text.write(f'\n#include "{included}"\n')
    return faults(copy)


def test_every_include_goes_down():
    assert faults(CORE) == []


@pytest.mark.parametrize(
    ("path", "included", "said"),
    [
        (
            "base/word.h",
            "locks/slots.h",
            "base/word.h includes locks/slots.h: locks/ is not below base/",
        ),
        (
            "table/row.c",
            "ledger/ledger.h",
            "table/row.c includes ledger/ledger.h: ledger/ is not below table/",
        ),
        ("ledger/claim.c", "python/ledger/view.h", "python/ledger/ is not below ledger/"),
        ("python/sync/sync.h", "python/table/rows.h", "python/table/ is not below python/sync/"),
        ("python/table/rows.h", "trace/trace.h", "trace/ is for tests"),
        ("python/ledger/view.h", "ledger/internal.h", "it is ledger/'s own"),
        ("locks/slots.h", "slots.h", "not a path from _core"),
        ("newcomer/thing.h", "base/ipk.h", "newcomer/ has no place in ROOMS"),
        ("locks/slots.h", "locks/lockword.h", "a circle: "),
    ],
    ids=[
        "upward",
        "sideways",
        "core to door",
        "door to door",
        "trace",
        "internal",
        "no path",
        "no place",
        "circle",
    ],
)
def test_an_include_that_breaks_the_rule_is_refused(copy, path, included, said):
    """The rule sees each kind of fault, planted in a copy that has no other one."""
    assert faults(copy) == []
    found = plant(copy, path, included)
    assert len(found) == 1
    assert said in found[0]

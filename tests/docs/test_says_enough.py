"""The pages build without a warning; every public name is in them, and says what it must.

That is, as far as it applies: units, errors, whether it waits, what a death in it leaves.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from deadlines import RUN

import ipckit
import ipckit.errors
import ipckit.framing
import ipckit.testing

DOCS = Path(__file__).parents[2] / "docs"
ERRORS = {name for name in ipckit.errors.__all__ if name != "from_errno"}
NAMES = [name for name in ipckit.__all__ if name not in {*ERRORS, "__version__"}]
INSIDE = {  # calls of other modules of ours, and of no user
    *(f"Port.{call}" for call in "opened listen forget".split()),
    *(f"ProcessMachine.{call}" for call in "ops examine perform ask_invariants sequential".split()),
    *(f"DeadLetters.{call}" for call in "prepare add wanted_again tried_again kept".split()),
    "Operation.overlaps",
    "Raised.of",
}
OTHERS = [
    *(f"ipckit.framing.{name}" for name in ipckit.framing.__all__),
    *(
        f"ipckit.queue.{name}"
        for name in (
            "MemoryPriorityQueue",
            "Message",
            "Statistics",
            "PosixStatistics",
            "QueueRelay",
            "Seen",
            "Wakeup",
        )
    ),
    *(f"ipckit.table.{name}" for name in ("MemoryTable", "TableStatistics")),
    *(f"ipckit.testing.{name}" for name in ipckit.testing.__all__),
    "ipckit.channel.Frame",
    "ipckit.server.tasks.dead_letters.DeadLetter",
    "ipckit.server.tasks.dead_letters.DeadLetters",
    "ipckit.server.ports.port.Port",
]

UNITS = {
    "timeout": "seconds|s, None",
    "seconds": "seconds",
    "delay": "seconds",
    "body": "bytes|MessageTooLarge",
    "data": "bytes?|pickle|PHP",
    "size": "bytes|rows",
    "max_size": "bytes",
    "max_bytes": "bytes|room for bodies",
    "max_frame": "bytes",
    "max_message_size": "bytes",
    "key_size": "bytes",
    "mode": "0o777|permission|rights",
    "length": "bytes",
}
TIMED = {"timeout", "seconds", "delay"}
FAILS = re.compile(r"\b(?:Raises?|raises|False|None|\w+Error|" + "|".join(ERRORS) + r")\b")
WAITS = re.compile(r"\b(?:[Ww]aits?|[Bb]locks?|[Ss]leeps?|holding up|at once|nowait)\b")
DEATH = re.compile(r"\b(?:Crash|kill(?:ed|s)?|dies|died|dead|deaths?|one (?:atomic )?step)\b")

AS_ANOTHER = {"MemoryTable"}  # its page says that its calls are those of Table

NEVER_FAIL = {  # what has arguments and cannot fail but by a wrong type
    "Framer.feed": "it says in P6 of its contract when a packet is refused",
    "msg_queue_exists": "the answer is yes or no",
    "Atomic.wake": "there may be nobody to wake",
    "Server.clear_timer": "the answer is yes or no",
    "Server.exists": "the answer is yes or no",
    "Table.exists": "the answer is yes or no",
    "History.completed": "it counts",
    "History.cut": "it counts",
    "History.results": "there may be none",
    "Atomic.compare_and_set": "the answer is yes or no",
}
CHANGES = {  # what others see of a process that is killed inside
    "SysvQueue": "create send receive areceive",
    "PosixQueue": "create send receive",
    "Table": "set add delete pop incr decr compare_and_set lock",
    "Channel": "send receive",
    "Server": "task task_later",
    "TaskClient": "post",
}
CRASH_OF_CLASS = ["Table", "Atomic", "Lock", "Server"]
NOTHING_IN_THE_KERNEL = {"Int", "Float", "Str", "Bytes", "TaskIPC", "SockType", "Server"}
CONTRACTS = [page.stem for page in (DOCS / "contracts").glob("*.md")]


def things() -> Iterator[tuple[str, object]]:
    """Every public function, class, method and property, under the name that a user writes."""
    for name in NAMES:
        yield name, getattr(ipckit, name)
    for path in OTHERS:
        module, _, name = path.rpartition(".")
        yield name, getattr(sys.modules.get(module) or __import__(module, fromlist=[name]), name)


def members(name: str, thing: object) -> Iterator[tuple[str, object]]:
    """The methods and properties of a class that ipckit wrote, in Python or in C."""
    bases = thing.__mro__ if inspect.isclass(thing) and name not in AS_ANOTHER else ()
    for base in bases:
        if base.__module__.startswith("ipckit"):
            for member, found in vars(base).items():
                plain = found.__func__ if isinstance(found, classmethod) else found
                shown = (
                    inspect.isroutine(plain)
                    or isinstance(plain, property)
                    or inspect.isgetsetdescriptor(plain)
                )
                if not member.startswith("_") and shown and f"{name}.{member}" not in INSIDE:
                    yield f"{name}.{member}", getattr(thing, member)


EVERY = {n: t for name, thing in things() for n, t in [(name, thing), *members(name, thing)]}
CALLS = {name: call for name, call in EVERY.items() if callable(call) and not inspect.isclass(call)}


def parameters(name: str) -> set[str]:
    try:
        found = set(inspect.signature(CALLS[name]).parameters)
    except ValueError:  # of C
        found = set()
    return found - {"self", "cls"}


def told(name: str, seen: frozenset[str] = frozenset()) -> str:
    """The docstring, and those that it refers to by "as other()"."""
    text = inspect.getdoc(EVERY[name]) or ""
    owner = name.partition(".")[0]
    for other, call in re.findall(r"[Aa]s `?(?:(\w+)\.)?(\w+)\(\)", text):
        for path in (f"{other or owner}.{call}", call):
            if path in EVERY and path not in {*seen, name}:
                text += "\n" + told(path, seen | {name})
                break
    return text


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The pages, built as `make docs` builds them."""
    out = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", DOCS, out],
        capture_output=True,
        text=True,
        timeout=RUN,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return out


def test_every_public_name_is_in_the_reference(built):
    """By the inventory that the build writes, which lists what can be linked to."""
    raw = (built / "objects.inv").read_bytes().split(b"\n", 4)[4]
    there = {line.split(" ")[0] for line in zlib.decompress(raw).decode().splitlines()}
    endings = {".".join(one.split(".")[-2:]) for one in there} | {
        one.rpartition(".")[2] for one in there
    }
    assert [name for name in EVERY if name not in endings] == []
    assert [name for name in ERRORS if f"ipckit.errors.{name}" not in there] == []


def test_units_are_told():
    assert len(CALLS) > 130
    wanting = [
        f"{name}({parameter})"
        for name in CALLS
        for parameter in parameters(name) & UNITS.keys()
        if not re.search(UNITS[parameter], told(name))
    ]
    assert wanting == []


def test_errors_are_told():
    """Whatever takes arguments says what it raises, or that the answer is False or None."""
    assert NEVER_FAIL.keys() <= CALLS.keys()
    silent = [name for name in CALLS if parameters(name) and not FAILS.search(told(name))]
    assert [name for name in silent if name not in NEVER_FAIL] == []


def test_it_is_told_what_waits():
    """What has a time limit, or is awaited, says how long it waits and what runs in that time."""
    wanting = [
        name
        for name, call in CALLS.items()
        if (parameters(name) & TIMED or inspect.iscoroutinefunction(call))
        and not WAITS.search(told(name))
    ]
    assert wanting == []


def test_it_is_told_what_a_death_leaves():
    """Of every class that others share, and of every call that changes what they see."""
    for name in CRASH_OF_CLASS:
        assert DEATH.search(EVERY[name].__doc__), name
    for page in CONTRACTS:
        text = (DOCS / f"contracts/{page}.md").read_text()
        assert "## What a crash leaves" in text, page
        reference = "".join(p.read_text() for p in (DOCS / "reference").glob("*.md"))
        assert f"../contracts/{page}" in reference, page
    calls = [f"{name}.{call}" for name, row in CHANGES.items() for call in row.split()]
    assert [name for name in calls if not DEATH.search(told(name))] == []
    crashes = (DOCS / "explanation/crashes.md").read_text()
    owners = [n for n in NAMES if inspect.isclass(EVERY[n]) and n not in NOTHING_IN_THE_KERNEL]
    assert [name for name in owners if f"`{name}" not in crashes] == []


def test_paths_that_the_developers_page_names_are_there():
    page = (DOCS / "developing/where-does-it-go.md").read_text()
    paths = [path for path in re.findall(r"`([\w*.]+/[\w*./]+)`", page) if "NNN" not in path]
    assert len(paths) > 30
    assert [path for path in paths if not list(DOCS.parent.glob(path))] == []

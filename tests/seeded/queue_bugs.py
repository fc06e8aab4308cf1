"""SharedQueue with one bug each in its C sources, and what finds it (`queue_search.py`)."""

from __future__ import annotations

import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from deadlines import RUN

CORE = Path(__file__).parents[2] / "ipckit/_core"
SOURCES = (
    "base", "process", "locks", "sessions", "queues", "table", "ledger", "shared_queue",
    "python/segments", "python/shared_queue",
)  # fmt: skip


@dataclass(frozen=True)
class Bug:
    name: str
    machine: str  # of harness/shared_queues.py
    kinds: tuple[str, ...]  # one of these the failure must be
    file: str
    changes: tuple[tuple[str, str], ...]
    calls: int = 4  # of the smallest program that shows it
    operations: int = 4  # of each process; with more, one process shows it whatever the others do


NOT_LINEARIZABLE, INVARIANT_BROKEN = ("not linearizable",), ("invariant broken",)
EITHER = NOT_LINEARIZABLE + INVARIANT_BROKEN  # the invariant reads bodies, too
PUBLISH = "code = ipk_queue_publish(call->queue, call->party, &call->lease);"
RESERVED = "code = queue_get(call);\n\tif (code <= 0)\n\t\treturn code;\n\tif (size"

BUGS = [
    Bug(
        "a recovered lease is acknowledged",
        "LeasesKilled",
        INVARIANT_BROKEN,
        "shared_queue/recovery.c",
        (
            (
                "case IPK_QUEUE_LEASED:",
                "case IPK_QUEUE_LEASED:\n\t\tclear(queue, me, index, word); break;\n\tcase 99:",
            ),
        ),
    ),
    Bug(
        "a living thread is recovered",
        "Leases",
        NOT_LINEARIZABLE,
        "shared_queue/recovery.c",
        (("ipk_slot_is_dead(queue->slots, slot)", "1"),),
    ),
    Bug(
        "what is given back comes after the rest",
        "Leases",
        NOT_LINEARIZABLE,
        "shared_queue/receive.c",
        (("if (ipk_queue_back_take(", "if (code == 0 && ipk_queue_back_take("),),
        calls=6,  # five of one process, and the other makes one
        operations=8,
    ),
    Bug(
        "what is received does not count as unfinished",
        "Objects",
        NOT_LINEARIZABLE,
        "shared_queue/unfinished.c",
        (("ipk_queue_count_unfinished(queue, party); /* N1 */", ""),),
    ),
    Bug(
        "a body is written after it was sent",
        "SharedHeldSmall",
        EITHER,
        "python/shared_queue/messages.c",
        (
            (f"if (code == 0)\n\t\t{PUBLISH}\n", ""),
            (RESERVED, RESERVED.replace("\tif (size", f"\t{PUBLISH}\n\tif (size")),
        ),
    ),
    Bug(
        "a second lease does not count",
        "Leases",
        NOT_LINEARIZABLE,
        "shared_queue/record.c",
        (("attempt += attempt < IPK_QUEUE_ATTEMPTS;", "attempt += attempt < 1;"),),
        calls=5,
    ),
]


def compile_sound(folder: Path) -> dict[Path, Path]:
    """Compile each source of the queue's module; the object of each."""
    sources = [source for each in SOURCES for source in sorted((CORE / each).glob("*.c"))]
    objects = {source: folder / f"{number}.o" for number, source in enumerate(sources)}
    for source, object_file in objects.items():
        cc("-c", source, "-o", object_file)
    return objects


def compile_bug(bug: Bug, objects: dict[Path, Path], folder: Path) -> Path:
    """Compile the source that has the bug, and link it with the others."""
    source = CORE / bug.file
    text = source.read_text()
    for old, new in bug.changes:
        assert old in text, f"{bug.file} has no {old!r}"
        text = text.replace(old, new)
    changed = folder / source.name
    changed.write_text(text)
    library = folder / "_shared_queue.so"
    others = [object_file for each, object_file in objects.items() if each != source]
    cc("-shared", changed, *others, "-o", library, "-lpthread", "-lrt")
    return library


def cc(*arguments: str | Path) -> None:
    stable = [] if sysconfig.get_config_var("Py_GIL_DISABLED") else ["-DPy_LIMITED_API=0x030b0000"]
    included = ["-I", CORE, "-I", sysconfig.get_paths()["include"]]
    flags = ["-O1", "-fPIC", "-fvisibility=hidden", "-D_GNU_SOURCE", *stable, *included]
    subprocess.run(["cc", *flags, *arguments], check=True, timeout=RUN)

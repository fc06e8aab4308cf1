"""Table beside LMDB, a plain dict and a Manager's, in one run; what two processes do together.

A row is int64 + str(64) + float, as in the figures for Swoole's Table. The loop's own time is taken
off, but not from a plain dict's: that is as short as the loop's.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import lmdb

from ipckit.cli.bench.rounds import Rounds, Row, timed
from ipckit.table import Float, Int, Str, Table

CALLS, FEW, KEYS, MILLION = 50_000, 500, 1024, 1_000_000
ROW: dict[str, Any] = {"id": 1, "name": "hello world", "score": 1.5}
COLUMNS = {"id": Int(8), "name": Str(64), "score": Float()}
NAMES = [f"key{i}" for i in range(KEYS)]
LMDB, DICT, MANAGER = "an LMDB get", "a plain dict", "Manager().dict()"


def over_keys(call: Callable[[str], object], calls: int = CALLS) -> Callable[[], float]:
    def loop(count: int) -> None:
        for i in range(count):
            call(NAMES[i & 1023])

    return timed(loop, calls)


def one_process() -> Iterator[Row]:
    """Every call over 1,024 keys. Each loop has the same frame; a call through it is taken off."""
    folder = tempfile.mkdtemp(dir="/dev/shm")
    peer = lmdb.open(folder, map_size=1 << 26, sync=False, metasync=False, writemap=True)
    table = Table(KEYS, columns=COLUMNS)
    plain = {}
    manager = multiprocessing.get_context("fork").Manager()
    remote = manager.dict()
    for name in NAMES:
        table[name] = plain[name] = remote[name] = ROW
        with peer.begin(write=True) as step:
            step.put(name.encode(), pickle.dumps(ROW, 5))

    def loop(calls: int) -> None:
        for i in range(calls):
            NAMES[i & 1023]

    def peer_get(calls: int) -> None:
        for i in range(calls):
            with peer.begin(buffers=True) as step:
                step.get(NAMES[i & 1023].encode())

    def plain_get(calls: int) -> None:
        for i in range(calls):
            plain[NAMES[i & 1023]]

    def get(calls: int) -> None:
        for i in range(calls):
            table.get(NAMES[i & 1023])

    def set_row(calls: int) -> None:
        for i in range(calls):
            table.set(NAMES[i & 1023], ROW)

    def incr(calls: int) -> None:
        for i in range(calls):
            table.incr(NAMES[i & 1023], "id")

    def get_column(calls: int) -> None:
        for i in range(calls):
            table.get(NAMES[i & 1023], "id")

    def exists(calls: int) -> None:
        for i in range(calls):
            NAMES[i & 1023] in table  # noqa: B015

    def iterate(calls: int) -> None:
        for _ in range(calls // KEYS):
            for _ in table.items():
                pass

    whole = CALLS // KEYS * KEYS
    runs = {
        "loop": timed(loop, CALLS),
        LMDB: timed(peer_get, CALLS),
        DICT: timed(plain_get, CALLS),
        "get": timed(get, CALLS),
        "set": timed(set_row, CALLS),
        "incr": timed(incr, CALLS),
        "column": timed(get_column, CALLS),
        "exists": timed(exists, CALLS),
        "a get": timed(get, CALLS),
        "iterate": timed(iterate, whole),
        MANAGER: over_keys(remote.__getitem__, FEW),
        "Manager().dict() set": over_keys(lambda name: remote.__setitem__(name, ROW), FEW),
    }
    try:
        found = Rounds(runs, 9)
    finally:
        table.close()
        peer.close()
        shutil.rmtree(folder)
        manager.shutdown()
    plain_time = found.figures[DICT]
    found = found.less("loop")
    found.figures[DICT] = plain_time
    yield found.row("Table.get, a row as a dict", "get", LMDB, "ns", 0.22)
    yield found.row("Table.set, a row", "set", LMDB, "ns", 0.15)
    yield found.row("Table.incr", "incr", LMDB, "ns", 0.20)
    yield found.row("Table.get, one column", "column", LMDB, "ns", 0.18)
    yield found.row("key in table", "exists", LMDB, "ns")
    yield found.row("iteration over the items, a row", "iterate", "a get", "ns", 1.0)
    yield found.row("Table.get", "get", DICT, "ns")
    yield found.row("Table.get", "get", MANAGER, "ns")
    yield found.row("Table.set", "set", "Manager().dict() set", "ns")


def million() -> Iterator[Row]:
    """How get with random keys grows from 1,024 to a million rows, Table beside a dict of dicts."""
    sizes = {"1,024": KEYS, "a million": MILLION}
    runs: dict[str, Callable[[], float]] = {}
    tables = []
    for told, size in sizes.items():
        names = [f"key{i}" for i in range(size)]
        wanted = random.Random(1).choices(names, k=CALLS)
        table = Table(size, columns=COLUMNS)
        tables.append(table)
        plain = {}
        for name in names:
            table[name] = ROW
            plain[name] = {"id": 1, "name": "hello world", "score": 1.5}

        def get(_calls: int, table: Table = table, wanted: list[str] = wanted) -> None:
            for name in wanted:
                table.get(name)

        def plain_get(_calls: int, plain: Any = plain, wanted: list[str] = wanted) -> None:
            for name in wanted:
                plain[name]["id"]

        runs[f"get at {told}"] = timed(get, CALLS)
        runs[f"dict at {told}"] = timed(plain_get, CALLS)
    found = Rounds(runs)
    for table in tables:
        table.close()
    yield found.row(
        "get, random keys of a million rows", "get at a million", "get at 1,024", "ns", 5.0
    )
    ours = [
        a / b
        for a, b in zip(
            found.figures["get at a million"], found.figures["get at 1,024"], strict=True
        )
    ]
    theirs = [
        a / b
        for a, b in zip(
            found.figures["dict at a million"], found.figures["dict at 1,024"], strict=True
        )
    ]
    found.figures = {"growth": ours, "a plain dict's": theirs}
    yield found.row("that growth", "growth", "a plain dict's", "times", 1.0)


def together(processes: int, work: Callable[[int], int], seconds: float = 0.4) -> list[float]:
    """Return each process's calls per second, all at it at the same time; `work` does some."""
    go = time.monotonic() + 0.1
    pipes = []
    for number in range(processes):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            mine = 0
            while time.monotonic() < go:
                pass
            while time.monotonic() < go + seconds:
                mine += work(number)
            os.write(writing, repr(mine / seconds).encode())
            os._exit(0)
        os.close(writing)
        pipes.append((pid, reading))
    found = []
    for pid, reading in pipes:
        with open(reading, "rb") as pipe:
            found.append(float(pipe.read()))
        os.waitpid(pid, 0)
    return found


def increments(keys: int) -> Callable[[int], int]:
    """Return work that increments so many keys in turn, 1,000 times."""
    table = Table(max(keys, 8), columns={"n": Int(8)})
    names = NAMES[:keys]

    def work(_number: int) -> int:
        for i in range(1000):
            table.incr(names[i % keys], "n")
        return 1000

    return work


def bare_loop(_number: int) -> int:
    """Work that shares nothing: how much faster two processes of this machine are than one."""
    count = 0
    for i in range(1000):
        count += NAMES[i % 1024] is None
    return 1000


def two_processes() -> Iterator[Row]:
    """Incr by two processes, of one alone; and who comes off worse."""
    many, one = increments(1024), increments(1)
    fair: list[float] = []

    def both(work: Callable[[int], int]) -> float:
        rates = together(2, work)
        if work is one:
            fair.append(min(rates) / statistics.mean(rates))
        return sum(rates)

    found = Rounds(
        {
            "one, 1,024 keys": lambda: together(1, many)[0],
            "two, 1,024 keys": lambda: both(many),
            "one, a bare loop": lambda: together(1, bare_loop)[0],
            "two, a bare loop": lambda: both(bare_loop),
            "one, one key": lambda: together(1, one)[0],
            "two, one key": lambda: both(one),
        },
        7,
    )
    pairs = "two, 1,024 keys", "one, 1,024 keys"
    yield found.row("incr by two processes, 1,024 keys", *pairs, "/s", 1.8, less=False)
    pairs = "two, a bare loop", "one, a bare loop"
    yield found.row("a bare Python loop by two processes", *pairs, "/s", less=False)
    yield found.row(
        "incr by two processes, one key", "two, one key", "one, one key", "/s", less=False
    )
    slower = statistics.median(fair)
    yield Row("the slower of two, one key", slower, "the mean of both", 1, "", slower, 0.5, False)


def main() -> Iterator[Row]:
    """Measure."""
    yield from one_process()
    yield from million()
    yield from two_processes()

"""Table beside LMDB and a plain dict, in one run. Only ratios count.

Rounds of all calls alternate, so that noise of the machine hits all; medians. The loop's own time
is taken off. A row is int64 + str(64) + float, as in the figures for Swoole's Table.
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import lmdb

from ipckit.table import Float, Int, Str, Table

ROUNDS, CALLS, KEYS, MILLION = 7, 100_000, 1024, 1_000_000
ROW: dict[str, Any] = {"id": 1, "name": "hello world", "score": 1.5}
COLUMNS = {"id": Int(8), "name": Str(64), "score": Float()}
GOALS = {"get": 0.22, "set": 0.15, "incr": 0.20, "get one column": 0.18}
PLAIN = "plain dict, and its loop"
NAMES = [f"key{i}" for i in range(KEYS)]


def nanoseconds(loops: dict[str, Callable[[], None]], calls: int = CALLS) -> dict[str, float]:
    """Return ns for one call in each loop of `calls`, measured in turn.

    The time of "loop" is taken off, but from a plain dict's: that is as short as the loop's.
    """
    times: dict[str, list[float]] = {name: [] for name in loops}
    for run in range(ROUNDS + 1):  # the first warms up
        for name, loop in loops.items():
            began = time.perf_counter()
            loop()
            if run:
                times[name].append((time.perf_counter() - began) / calls * 1e9)
    found = {name: statistics.median(values) for name, values in times.items()}
    loop = found.pop("loop")
    return {name: value if name == PLAIN else value - loop for name, value in found.items()}


def one_process() -> dict[str, float]:
    """Measure every call over 1,024 keys, and the same with LMDB and a dict."""
    folder = tempfile.mkdtemp(dir="/dev/shm")
    peer = lmdb.open(folder, map_size=1 << 26, sync=False, metasync=False, writemap=True)
    table = Table(KEYS, columns=COLUMNS)
    plain = {}
    for name in NAMES:
        table[name] = ROW
        plain[name] = dict(ROW)
        with peer.begin(write=True) as step:
            step.put(name.encode(), pickle.dumps(ROW, 5))

    def loop() -> None:
        for i in range(CALLS):
            NAMES[i & 1023]

    def peer_get() -> None:
        for i in range(CALLS):
            with peer.begin(buffers=True) as step:
                step.get(NAMES[i & 1023].encode())

    def plain_get() -> None:
        for i in range(CALLS):
            plain[NAMES[i & 1023]]

    def get() -> None:
        for i in range(CALLS):
            table.get(NAMES[i & 1023])

    def set_row() -> None:
        for i in range(CALLS):
            table.set(NAMES[i & 1023], ROW)

    def incr() -> None:
        for i in range(CALLS):
            table.incr(NAMES[i & 1023], "id")

    def get_column() -> None:
        for i in range(CALLS):
            table.get(NAMES[i & 1023], "id")

    def exists() -> None:
        for i in range(CALLS):
            NAMES[i & 1023] in table  # noqa: B015

    def iterate() -> None:
        for _ in range(CALLS // KEYS):
            for _ in table.items():
                pass

    loops = {
        "loop": loop,
        "LMDB get": peer_get,
        PLAIN: plain_get,
        "get": get,
        "set": set_row,
        "incr": incr,
        "get one column": get_column,
        "exists": exists,
        "iterate, a row": iterate,
    }
    try:
        return nanoseconds(loops)
    finally:
        table.close()
        peer.close()
        shutil.rmtree(folder)


def million() -> dict[str, float]:
    """Measure get with random keys at a million rows, Table beside a dict of dicts."""
    names = [f"key{i}" for i in range(MILLION)]
    wanted = random.Random(1).choices(names, k=CALLS)
    table = Table(MILLION, columns=COLUMNS)
    plain = {}
    for name in names:
        table[name] = ROW
        plain[name] = {"id": 1, "name": "hello world", "score": 1.5}

    def loop() -> None:
        for _ in wanted:
            pass

    def get() -> None:
        for name in wanted:
            table.get(name)

    def plain_get() -> None:
        for name in wanted:
            plain[name]["id"]

    found = nanoseconds({"loop": loop, "get": get, PLAIN: plain_get})
    table.close()
    return found


def increments(processes: int, keys: int, seconds: float = 1.0) -> list[float]:
    """Return each process's incr per second, all at it at the same time."""
    table = Table(max(keys, 8) + processes, columns={"n": Int(8)})
    names = NAMES[:keys]
    go = time.monotonic() + 0.3

    def work(number: int) -> None:
        mine = 0
        while time.monotonic() < go:
            pass
        while time.monotonic() < go + seconds:
            for i in range(1000):
                table.incr(names[i % keys], "n")
            mine += 1000
        table.set(f"worker {number}", {"n": mine})

    children = []
    for number in range(processes):
        pid = os.fork()
        if pid == 0:
            work(number)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    found = [float(table.get(f"worker {number}", "n")) / seconds for number in range(processes)]
    table.close()
    return found


def main() -> dict[str, Any]:
    """Measure, print, and return the figures."""
    found = one_process()
    for name, value in found.items():
        ratio = value / found["LMDB get"]
        goal = f"   (goal {GOALS[name]:.2f})" if name in GOALS else ""
        print(f"{name:24} {value:8.0f} ns   {ratio:5.2f} of an LMDB get{goal}")
    ratio = found["iterate, a row"] / found["get"]
    print(f"{'iteration':24} {ratio:8.2f} of a get (goal 1.00)")
    large = million()
    table_grows = large["get"] / found["get"]
    plain_grows = large[PLAIN] / found[PLAIN]
    print(
        f"{'a million rows':24} {large['get']:8.0f} ns   {table_grows:5.2f} times that at 1,024"
        f" (goal 5.00); a plain dict's: {plain_grows:.2f} times"
    )
    rates = {}
    for keys in (1024, 1):
        alone = statistics.median(increments(1, keys)[0] for _ in range(3))
        both = [increments(2, keys) for _ in range(3)]
        total = statistics.median(sum(pair) for pair in both)
        fair = statistics.median(min(pair) / (sum(pair) / 2) for pair in both)
        print(
            f"{f'incr, {keys} keys':24} {alone / 1e6:8.2f} M/s alone, {total / 1e6:.2f} M/s by two"
            f" processes: {total / alone:.2f} times (goal 1.80 with 1024);"
            f" the slower one has {fair:.2f} of the mean (goal 0.50)"
        )
        rates[keys] = {"alone": alone, "two": total, "slower": fair}
    return {"ns": found, "million": large, "incr": rates}


if __name__ == "__main__":
    main()

"""SysvQueue against sysv_ipc: one process sends and receives 100 bytes. Only the ratio counts.

Rounds of both alternate, so that noise of the machine hits both; medians of five pairs.
"""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable

import sysv_ipc

from ipckit.queue import SysvQueue

ROUNDS, CALLS = 5, 50_000
BODY = b"x" * 100


def medians(pairs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return nanoseconds for one call of each, measured in turn."""
    times: dict[str, list[float]] = {name: [] for name in pairs}
    for call in pairs.values():
        timeit.timeit(call, number=CALLS // 10)  # warm up
    for _ in range(ROUNDS):
        for name, call in pairs.items():
            times[name].append(timeit.timeit(call, number=CALLS) / CALLS * 1e9)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> dict[str, float]:
    """Measure, print, and return the figures."""
    ours = SysvQueue.create()
    theirs = sysv_ipc.MessageQueue(None, sysv_ipc.IPC_CREX)
    try:
        found = medians(
            {
                "SysvQueue, nowait": lambda: (ours.send_nowait(BODY), ours.receive_nowait()),
                "sysv_ipc, nowait": lambda: (theirs.send(BODY, False), theirs.receive(False)),
                "SysvQueue, waiting": lambda: (ours.send(BODY), ours.receive()),
                "sysv_ipc, waiting": lambda: (theirs.send(BODY), theirs.receive()),
            }
        )
    finally:
        ours.remove()
        ours.close()
        theirs.remove()
    for name, time in found.items():
        print(f"{name:20} {time:8.0f} ns for send + receive")
    for way in ("nowait", "waiting"):
        ratio = found[f"SysvQueue, {way}"] / found[f"sysv_ipc, {way}"]
        print(f"{way:20} {ratio:8.2f} of sysv_ipc's time")
    return found


if __name__ == "__main__":
    main()

"""Threads whose first call at an object is under way while another thread closes it.

`python closing_threads.py KIND ROUNDS` prints what the calls came to, and ends with 0.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter

from ipckit import Int, MisuseError, ObjectQueue, SharedQueue, Table

KINDS = {
    "a table": (lambda: Table(8, columns={"n": Int()}), lambda table: table.incr("k", "n")),
    "a queue, receive": (lambda: SharedQueue(8, 4096), lambda queue: queue.receive()),
    "a queue, send": (lambda: SharedQueue(8, 4096), lambda queue: queue.send(b"a")),
    "a queue, lease": (lambda: SharedQueue(8, 4096), lambda queue: queue.lease()),
    "a queue, fileno": (lambda: SharedQueue(8, 4096), lambda queue: queue.fileno()),
    "objects": (lambda: ObjectQueue(8, 4096), lambda queue: queue.get()),
    "objects, join": (lambda: ObjectQueue(8, 4096), lambda queue: queue.put(1) or queue.join()),
    "objects, finish": (lambda: ObjectQueue(8, 4096), lambda queue: queue.task_done()),
}
THREADS = 3


def main(kind: str, rounds: int) -> None:
    sys.setswitchinterval(1e-6)
    make, call = KINDS[kind]
    seen: list[str] = []

    def use(thing) -> None:
        try:
            call(thing)
            seen.append("done")
        except MisuseError:
            seen.append("closed")
        except ValueError:  # of task_done(): there is none
            seen.append("done")

    for _ in range(rounds):
        thing = make()
        threads = [threading.Thread(target=use, args=[thing]) for _ in range(THREADS)]
        for each in threads:
            each.start()
        thing.close()
        for each in threads:
            each.join()
    assert len(seen) == THREADS * rounds, Counter(seen)
    print(dict(Counter(seen)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""SharedQueue beside the packages of the index, the standard library, and a ring made by hand.

All ways are from one process to another, or from four to four. `make bench` installs the packages;
cloudtoid-interprocess is left out where it has no wheel.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory

import numpy as np
from faster_fifo import Queue as FasterFifo

from ipckit.cli.bench.rounds import Rounds, Row
from ipckit.queue import ObjectQueue, SharedQueue, SysvQueue

MESSAGES, BATCH = 200_000, 64
FEW = MESSAGES // 10
BODY = b"x" * 100
FRAME, FRAMES = 8 << 20, 60
IN_WAY = 4  # frames between the two

Part = Callable[[int], object]
"""Sends, or receives, so many messages."""


def race(send: Part, receive: Part, count: int, pairs: int = 1) -> float:
    """Return messages per second of `pairs` senders and receivers; each does its share."""
    ready, told = os.pipe()
    children = []
    for _ in range(pairs):
        for part in (receive, send):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    os.close(told)
                    os.read(ready, 1)  # the end: all are there
                    part(count // pairs)
                    code = 0
                finally:
                    os._exit(code)
            children.append(pid)
    began = time.perf_counter()
    os.close(told)
    codes = [os.waitpid(pid, 0)[1] for pid in children]
    took = time.perf_counter() - began
    os.close(ready)
    if any(codes):
        raise RuntimeError("a process of the race failed")
    return count / took


def repeat(call: Callable[[], object]) -> Part:
    def part(count: int) -> None:
        for _ in range(count):
            call()

    return part


def in_batches(send_many: Callable[[list[bytes]], int]) -> Part:
    def part(count: int) -> None:
        bodies = [BODY] * BATCH
        while count:
            count -= send_many(bodies[:count])

    return part


def until(receive_many: Callable[[int], int]) -> Part:
    def part(count: int) -> None:
        while count:
            count -= receive_many(min(count, BATCH))

    return part


def leased(queue: SharedQueue) -> Part:
    def part(count: int) -> None:
        for _ in range(count):
            with queue.lease():
                pass

    return part


def in_loop(call: Callable[[], object]) -> Part:
    def part(count: int) -> None:
        async def all_of_it() -> None:
            for _ in range(count):
                await call()  # type: ignore[misc]

        asyncio.run(all_of_it())

    return part


def cloudtoid() -> dict[str, Callable[[], float]]:
    """A ring that is polled without rest; a process that dies in it leaves it unusable."""
    try:
        package = importlib.import_module("cloudtoid_interprocess")
    except ImportError:
        return {}
    names = iter(range(1_000_000))

    def one(batch: bool) -> float:
        name = f"bench{os.getpid()}-{next(names)}"
        publisher = package.Publisher(name, 4 << 20)

        def send(count: int) -> None:
            if batch:
                bodies = [BODY] * BATCH
                while count:
                    done = publisher.try_send_batch(bodies[:count])
                    count -= done if type(done) is int else min(count, BATCH) if done else 0
                return
            for _ in range(count):
                while not publisher.try_send(BODY):
                    pass

        def receive(count: int) -> None:
            subscriber = package.Subscriber(name, 4 << 20)
            while count:
                count -= subscriber.try_receive() is not None

        return race(send, receive, MESSAGES)

    return {
        "cloudtoid-interprocess": lambda: one(False),
        "cloudtoid-interprocess, batches": lambda: one(True),
    }


def small() -> Iterator[Row]:
    """Messages of 100 bytes."""
    fork = multiprocessing.get_context("fork")
    queue, sysv = SharedQueue(), SysvQueue.create()
    fast, full = FasterFifo(loads=bytes, dumps=bytes), fork.Queue()
    receive_many = lambda most: len(queue.receive_many(most))  # noqa: E731
    runs = {
        "ours": lambda: race(repeat(lambda: queue.send(BODY)), repeat(queue.receive), MESSAGES),
        "ours, batches": lambda: race(in_batches(queue.send_many), until(receive_many), MESSAGES),
        "ours, leased": lambda: race(repeat(lambda: queue.send(BODY)), leased(queue), MESSAGES),
        "ours, four to four": lambda: race(
            repeat(lambda: queue.send(BODY)), repeat(queue.receive), MESSAGES, 4
        ),
        "ours, in event loops": lambda: race(
            in_loop(lambda: queue.asend(BODY)), in_loop(queue.areceive), MESSAGES
        ),
        "SysvQueue": lambda: race(repeat(lambda: sysv.send(BODY)), repeat(sysv.receive), FEW),
        "faster-fifo": lambda: race(
            repeat(lambda: fast.put(BODY, timeout=60)), repeat(lambda: fast.get(timeout=60)), FEW
        ),
        "multiprocessing.Queue": lambda: race(
            lambda count: (
                [full.put(BODY) for _ in range(count)] and (full.close(), full.join_thread())
            ),
            repeat(full.get),
            FEW,
        ),
        **cloudtoid(),
    }
    try:
        found = Rounds(runs)
    finally:
        sysv.remove()
        queue.close()
    what = "SharedQueue, 100 B, one way"
    if "cloudtoid-interprocess" in runs:
        yield found.row(what, "ours", "cloudtoid-interprocess", "/s", 1.0, less=False)
        better = max(
            ("cloudtoid-interprocess", "cloudtoid-interprocess, batches"), key=found.median
        )
        yield found.row("the same, batches of 64", "ours, batches", better, "/s", 2.5, less=False)
    yield found.row(what, "ours", "faster-fifo", "/s", 15, less=False)
    yield found.row(what, "ours", "multiprocessing.Queue", "/s", 20, less=False)
    yield found.row(what, "ours", "SysvQueue", "/s", 3, less=False)
    yield found.row("lease and acknowledge", "ours, leased", "ours", "/s", 0.6, less=False)
    yield found.row(
        "four senders, four receivers", "ours, four to four", "ours", "/s", 0.7, less=False
    )
    yield found.row("asend and areceive", "ours, in event loops", "ours", "/s", 0.5, less=False)


def array_of(memory: object) -> np.ndarray:
    return np.frombuffer(memory, np.uint8)  # type: ignore[call-overload,no-any-return]


def in_place() -> float:
    """Frames that are written in a reservation and summed in a lease; MiB/s."""
    with SharedQueue(max_messages=IN_WAY, max_bytes=IN_WAY * FRAME) as queue:

        def send(count: int) -> None:
            for number in range(count):
                with queue.reserve(FRAME) as space:
                    array_of(space.buffer).fill(number % 256)

        def receive(count: int) -> None:
            for _ in range(count):
                with queue.lease() as job:
                    array_of(job.body).sum()

        return race(send, receive, FRAMES) * FRAME / (1 << 20)


def by_hand() -> float:
    """A ring of segments, with their numbers through a pipe; what no crash may meet."""
    ours, theirs = multiprocessing.Pipe()
    ring = [SharedMemory(create=True, size=FRAME) for _ in range(IN_WAY)]
    arrays = [array_of(part.buf)[:FRAME] for part in ring]

    def send(count: int) -> None:
        for number in range(count):
            if number >= IN_WAY:
                ours.recv()
            arrays[number % IN_WAY].fill(number % 256)
            ours.send(number % IN_WAY)

    def receive(count: int) -> None:
        for _ in range(count):
            arrays[theirs.recv()].sum()
            theirs.send(0)

    try:
        return race(send, receive, FRAMES) * FRAME / (1 << 20)
    finally:
        arrays.clear()
        for part in ring:
            part.close()
            part.unlink()


def through_a_pipe() -> float:
    """An array through multiprocessing.Pipe."""
    ours, theirs = multiprocessing.Pipe()
    array = np.zeros(FRAME, np.uint8)

    def send(count: int) -> None:
        for number in range(count):
            array.fill(number % 256)
            ours.send(array)

    def receive(count: int) -> None:
        for _ in range(count):
            theirs.recv().sum()

    return race(send, receive, FRAMES) * FRAME / (1 << 20)


def put_and_got() -> float:
    """An array through an ObjectQueue: copied in, copied out."""
    array = np.zeros(FRAME, np.uint8)
    with ObjectQueue(IN_WAY, IN_WAY * (FRAME + 8192)) as queue:

        def send(count: int) -> None:
            for number in range(count):
                array.fill(number % 256)
                queue.put(array)

        def receive(count: int) -> None:
            for _ in range(count):
                queue.get().sum()

        return race(send, receive, FRAMES) * FRAME / (1 << 20)


def objects() -> Iterator[Row]:
    """A dict of three values, pickled."""
    theirs, value = multiprocessing.get_context("fork").Queue(), {"id": 1, "name": "abc", "x": 2.5}
    with ObjectQueue() as queue:
        found = Rounds(
            {
                "ours": lambda: race(repeat(lambda: queue.put(value)), repeat(queue.get), MESSAGES),
                "multiprocessing.Queue": lambda: race(
                    lambda count: (
                        [theirs.put(value) for _ in range(count)]
                        and (theirs.close(), theirs.join_thread())
                    ),
                    repeat(theirs.get),
                    FEW,
                ),
            }
        )
    what = "ObjectQueue, a dict of three values"
    yield found.row(what, "ours", "multiprocessing.Queue", "/s", 4, less=False)


def large() -> Iterator[Row]:
    """Frames of 8 MiB."""
    found = Rounds(
        {
            "ours": in_place,
            "ours, put and got": put_and_got,
            "a ring of SharedMemory made by hand": by_hand,
            "multiprocessing.Pipe": through_a_pipe,
        }
    )
    what = "8 MiB frames, reserved and leased"
    ring = "a ring of SharedMemory made by hand"
    yield found.row(what, "ours", ring, "MiB/s", 0.95, less=False)
    yield found.row(what, "ours", "multiprocessing.Pipe", "MiB/s", 5, less=False)
    what = "8 MiB arrays, put and got"
    yield found.row(what, "ours, put and got", "multiprocessing.Pipe", "MiB/s", 2.5, less=False)


def main() -> Iterator[Row]:
    """Every row."""
    yield from small()
    yield from objects()
    yield from large()

"""Each system call of the calls of queues, tables, locks and Channel.receive(into=) fails once.

    python -m inject.calls.steps [all]   prints a line of JSON for each failure, with what is wrong or ""

Of each call in a step the first, the second and the last fail, by each errno; `all`: every one.

Each failure has a process of its own, which is forked with the queues and makes its first call of them.
The library (inject.c) is preloaded.

Contract  A call with a failure in it succeeds, or raises an error of ipckit.errors or a MemoryError;
          an event loop's own steps raise its OSError. Then nothing more is in /dev/shm or open than
          before, the queues are sound, and the same call succeeds. A close() whose fstat(2) fails
          leaves its descriptor open, as the number may be another file's.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import itertools
import json
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator

from deadlines import LOOK

from inject.errnos import ERRNOS
from inject.library.page import NOBODY, WORKER, Page
from ipckit import Channel, Int, Lock, Table
from ipckit.errors import IPCError
from ipckit.queue import ObjectQueue, SharedQueue

NAME = os.environ.get("INJECT_NAME", "inject")
SMALL, LONG = b"s" * 100, b"l" * 20_000
SHAPE = {"max_messages": 32, "max_bytes": 1 << 20}


class World:
    """Queues with messages, a channel with a frame, an event loop."""

    def __init__(self) -> None:
        self.queue = SharedQueue(**SHAPE)
        self.named = SharedQueue.create(f"{NAME}.there", **SHAPE)
        self.objects = ObjectQueue(**SHAPE)
        for body in (SMALL, LONG) * 3:
            self.queue.send(body)
            self.objects.put(pickle.PickleBuffer(bytearray(body)))
        self.table = Table(8, columns={"n": Int(8)})
        self.lock = Lock()
        self.one, self.other = Channel.pair()
        for _ in range(3):
            self.one.send(LONG)
        self.into = bytearray(len(LONG))
        self.loop = asyncio.new_event_loop()

    def do(self, coroutine) -> None:
        self.loop.run_until_complete(coroutine)

    def end(self) -> None:
        self.loop.close()
        for each in (self.queue, self.named, self.objects, self.table, self.one, self.other):
            each.close()

    def sound(self) -> bool:
        made = (self.queue, self.named, self.objects, self.table)
        return not any(each.verify() for each in made)


def _make(kind: type) -> Callable[[World], None]:
    return lambda _world: kind(**SHAPE).close()


def _create(kind: type) -> Callable[[World], None]:
    def create(_world: World) -> None:
        kind.create(f"{NAME}.new", **SHAPE).close()

    return create


def _open(world: World) -> None:
    SharedQueue.open(world.named.name).close()


def _open_or_create(name: str) -> Callable[[World], None]:
    return lambda _world: SharedQueue.open_or_create(f"{NAME}.{name}", **SHAPE).close()


def _create_table(_world: World) -> None:
    Table(8, columns={"n": Int(8)}, name=f"{NAME}.new").close()


def _row(world: World) -> None:
    with world.table.lock("row", timeout=LOOK) as row:
        row["n"] += 1


def _locked(world: World) -> None:
    with world.lock:
        pass


def _lease(world: World) -> None:
    with world.queue.lease(timeout=LOOK) as job:
        assert job.body in (SMALL, LONG)


def _give_back(world: World) -> None:
    with world.queue.lease(timeout=LOOK) as job:
        job.give_back()


def _reserve(world: World) -> None:
    with world.queue.reserve(len(LONG)) as space:
        space.buffer[:] = LONG


def _object_lease(world: World) -> None:
    with world.objects.lease(timeout=LOOK) as job:
        assert bytes(job.obj) in (SMALL, LONG)


def _finish(world: World) -> None:
    world.objects.get(timeout=LOOK)
    world.objects.task_done()


async def _leased(world: World) -> None:
    with await world.queue.alease(timeout=LOOK):
        pass


STEPS: dict[str, Callable[[World], object]] = {
    "make": _make(SharedQueue),
    "make, of objects": _make(ObjectQueue),
    "make a table": lambda _world: Table(8, columns={"n": Int(8)}).close(),
    "create a table": _create_table,
    "incr": lambda world: world.table.incr("row", "n"),
    "lock a row": _row,
    "lock": _locked,
    "create": _create(SharedQueue),
    "create, of objects": _create(ObjectQueue),
    "open": _open,
    "open or create, there": _open_or_create("there"),
    "open or create, new": _open_or_create("new"),
    "send": lambda world: world.queue.send(SMALL, timeout=LOOK),
    "send, pages": lambda world: world.queue.send(LONG, timeout=LOOK),
    "send many": lambda world: world.queue.send_many([SMALL, LONG], timeout=LOOK),
    "receive": lambda world: world.queue.receive(timeout=LOOK),
    "receive many": lambda world: world.queue.receive_many(2, timeout=LOOK),
    "lease": _lease,
    "give back": _give_back,
    "reserve": _reserve,
    "asend": lambda world: world.do(world.queue.asend(SMALL, timeout=LOOK)),
    "areceive": lambda world: world.do(world.queue.areceive(timeout=LOOK)),
    "alease": lambda world: world.do(_leased(world)),
    "fileno": lambda world: world.queue.fileno(),
    "put": lambda world: world.objects.put({"n": 1}, timeout=LOOK),
    "put, pages": lambda world: world.objects.put(pickle.PickleBuffer(LONG), timeout=LOOK),
    "finish": _finish,
    "lease an object": _object_lease,
    "aput": lambda world: world.do(world.objects.aput(1, timeout=LOOK)),
    "aget": lambda world: world.do(world.objects.aget(timeout=LOOK)),
    "receive into": lambda world: world.other.receive(LOOK, into=world.into),
    "areceive into": lambda world: world.do(world.other.areceive(LOOK, into=world.into)),
}
WAITS = frozenset({"asend", "areceive", "alease", "fileno", "aput", "aget", "areceive into"})
"""Those that may leave a thread that waits, and its descriptors, for the next of them."""


def things() -> tuple[set[str], set[str]]:
    """What is open, and what is in /dev/shm."""
    gc.collect()
    return set(os.listdir("/proc/self/fd")), set(os.listdir("/dev/shm"))


def in_child(body: Callable[[], object]) -> object:
    """Return what it returns, in a child; a text if that dies."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(int(2 * LOOK))
        try:
            told = body()
        except BaseException:
            told = traceback.format_exc()
        with open(writing, "w") as file:
            json.dump(told, file)
        os._exit(0)
    os.close(writing)
    with open(reading) as file:
        said = file.read()
    status = os.waitpid(pid, 0)[1]
    return json.loads(said) if said else f"it died: {os.waitstatus_to_exitcode(status)}"


@contextlib.contextmanager
def world_of() -> Iterator[World]:
    """A new world; its names are removed."""
    try:
        world = World()
        yield world
        world.end()
    finally:
        for name in os.listdir("/dev/shm"):
            if NAME in name:
                os.unlink(f"/dev/shm/{name}")


def attempt(page: Page, step: Callable[[World], object], world: World) -> BaseException | None:
    """Do it with the library on; return what it raised."""
    page.role(WORKER)
    try:
        step(world)
    except BaseException as why:
        return why
    finally:
        page.role(NOBODY)
    return None


def calls_of(page: Page, name: str) -> dict[tuple[str, str], int]:
    """How often a step makes each call, by the kind of its descriptor."""
    before = page.counts()
    with world_of() as world:
        raised = in_child(lambda: repr(attempt(page, STEPS[name], world)))
    assert raised == "None", (name, raised)
    after = page.counts()
    return {
        (call, kind): count - before.get((role, call, kind), 0)
        for (role, call, kind), count in after.items()
        if role == WORKER and count > before.get((role, call, kind), 0)
    }


def judge(page: Page, name: str, call: str, kind: str, code: int, nth: int) -> str | None:
    """Return what is wrong after that failure, or ""; None: the call was not made so often."""
    with world_of() as world:

        def body() -> str | None:
            before = things()
            page.arm(WORKER, call, kind, code, nth)
            raised = attempt(page, STEPS[name], world)
            if not page.disarm():
                return None
            allowed = (IPCError, MemoryError, *((OSError,) if name in WAITS else ()))
            if raised is not None and not isinstance(raised, allowed):
                return "".join(traceback.format_exception(raised))
            failed = raised is not None
            del raised  # and what its frames have open
            after = things()
            if name not in WAITS and call != "fstat" and after[0] != before[0]:
                return f"open: {sorted(after[0] ^ before[0])}"
            new = {each for each in after[1] - before[1] if NAME in each}
            if new and (failed or ("new" not in name and not name.startswith("create"))):
                return f"in /dev/shm: {sorted(new)}"
            for each in new:
                os.unlink(f"/dev/shm/{each}")
            again = attempt(page, STEPS[name], world)
            if again is not None:
                return "again: " + "".join(traceback.format_exception(again))
            return "" if world.sound() else "a queue is not sound"

        return in_child(body)


def main(*, every: bool) -> None:
    page = Page()
    gc.freeze()  # so that a look at what is left is quick
    for name in STEPS:
        for (call, kind), count in sorted(calls_of(page, name).items()):
            errors = ERRNOS.get((call, kind), ERRNOS.get((call, ""), "")).split()
            chosen = range(1, count + 1) if every else sorted({1, min(2, count), count})
            for error, nth in itertools.product(errors, chosen):
                wrong = judge(page, name, call, kind, getattr(errno, error), nth)
                if wrong is not None:
                    print(json.dumps([name, call, kind, error, nth, wrong]), flush=True)


if __name__ == "__main__":
    main(every="all" in sys.argv[1:])

"""Every object that processes may share: how it is made, and what a child does with it.

sharing_program.py starts the children.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deadlines import LOOK

from ipckit import (
    Atomic,
    Bytes,
    Channel,
    Client,
    Float,
    Int,
    Lock,
    MemoryQueue,
    MemoryTable,
    ObjectQueue,
    PeerGone,
    PosixQueue,
    Server,
    SharedQueue,
    Str,
    SysvQueue,
    Table,
    TaskClient,
    ftok,
    msg_get_queue,
    msg_receive,
    msg_send,
)
from ipckit.channel import Frame
from ipckit.framing import Framing
from ipckit.queue import MemoryPriorityQueue, Message, QueueRelay, Seen
from ipckit.server.dead_letters import DeadLetter, DeadLetters

FOLDER = Path(os.environ["IPCKIT_TEST_FOLDER"])
ERROR, PORT, STARTED = FOLDER / "error", FOLDER / "port", FOLDER / "started"
COLUMNS = {"n": Int(8), "x": Float(), "s": Str(8), "b": Bytes(8)}
LETTER = DeadLetter(1, 7, 0, -1, "plain", b"", (), 0.0, 0.0)

Check = Callable[[], bool]
"""What the parent does when the child has ended: whether it sees what was done."""


@dataclass
class Shared:
    """One object: how the parent makes it, what the child does with it."""

    make: Callable[[], contextlib.AbstractContextManager[tuple[Any, Check]]]
    work: Callable[[Any], object]
    gives: str  # "shared", or "a copy": then the check is that the parent sees nothing of the work
    beside: bool  # whether the check is made while the child works


SHARED: dict[str, Shared] = {}


class InChild(Exception):
    """An error that the child met; it has its text."""


def shared(name: str, work: Callable[[Any], object], gives: str = "shared", beside: bool = False):
    """Put what makes an object into the table, with what a child does with it."""

    def keep(make):
        SHARED[name] = Shared(contextlib.contextmanager(make), work, gives, beside)
        return make

    return keep


# -- shared memory --


def count(table: Table) -> None:
    with table.lock("a", LOOK) as row:
        row["n"] += 1
    table["b"] = {"x": 0.5, "s": "é", "b": b"\0"}


def counted(table: Table) -> bool:
    return dict(table.items()) == {
        "a": {"n": 42, "x": 0.0, "s": "", "b": b""},
        "b": {"n": 0, "x": 0.5, "s": "é", "b": b"\0"},
    } and not table.verify()  # fmt: skip


@shared("`Table` without a name", count)
def _(name=None) -> Iterator[tuple[Any, Check]]:
    with Table(8, columns=COLUMNS, name=name) as table:
        table.set("a", {"n": 41})
        yield table, lambda: counted(table)


@shared("`Table` with a name", count)
def _() -> Iterator[tuple[Any, Check]]:
    with Table(8, columns=COLUMNS, name="start-methods") as table:
        table.set("a", {"n": 41})
        try:
            yield table, lambda: counted(table)
        finally:
            table.remove()


@shared("the row of `with table.lock()`", lambda row: row.update(n=5), gives="a copy")
def _() -> Iterator[tuple[Any, Check]]:
    with Table(8, columns=COLUMNS) as table:
        with table.lock("a") as row:
            yield row, lambda: row["n"] == 0
        assert table["a"]["n"] == 0


@shared("`MemoryTable`", lambda table: table.incr("a", "n"), gives="a copy")
def _() -> Iterator[tuple[Any, Check]]:
    with MemoryTable(8, columns=COLUMNS) as table:
        yield table, lambda: len(table) == 0


@shared("`Atomic`", lambda number: (number.add(2), number.wake()))
def _() -> Iterator[tuple[Any, Check]]:
    number = Atomic(40)
    yield number, lambda: number.get() == 42


def keep_one(locks: list[Lock]) -> None:
    taken, free = locks
    assert not taken.acquire(timeout=0.01), "the parent has it"
    assert free.acquire(timeout=0)  # and the child ends with it


@shared("`Lock`", keep_one)
def _() -> Iterator[tuple[Any, Check]]:
    taken, free = Lock(), Lock()
    with taken:
        yield [taken, free], lambda: free.acquire(timeout=LOOK) and free.recovered
    if free.locked():
        free.release()


# -- queues --


@shared("`SysvQueue`", lambda queue: queue.send(queue.receive(type=3, timeout=LOOK).body, type=4))
def _() -> Iterator[tuple[Any, Check]]:
    with SysvQueue.create() as queue:
        queue.send(b"there", type=3)
        try:
            yield queue, lambda: queue.receive(timeout=0) == (4, b"there")
        finally:
            queue.remove()


def ask_php(queue: SysvQueue) -> None:
    assert queue.key == ftok(__file__, "p")
    msg_send(queue, 4, msg_receive(queue, 3, 100)[1])


@shared("the queue of `msg_get_queue()`", ask_php)
def _() -> Iterator[tuple[Any, Check]]:
    with msg_get_queue(ftok(__file__, "p")) as queue:
        msg_send(queue, 3, {"to": "张三"})
        try:
            yield queue, lambda: msg_receive(queue, 0, 100) == (4, {"to": "张三"})
        finally:
            queue.remove()


@shared("`PosixQueue`", lambda queue: queue.send(queue.receive(timeout=LOOK).body, priority=4))
def _() -> Iterator[tuple[Any, Check]]:
    with PosixQueue.create(f"/ipckit-start-{os.getpid()}", max_message_size=64) as queue:
        queue.send(b"there")
        try:
            yield queue, lambda: queue.receive(timeout=0) == (4, b"there")
        finally:
            queue.remove()


def answer_in_place(queue: SharedQueue) -> None:
    with queue.lease(timeout=LOOK) as job, queue.reserve(job.size, timeout=LOOK) as space:
        assert job.attempt == 2
        space.buffer[:] = bytes(job.body)[::-1]


@shared("`SharedQueue` without a name", answer_in_place)
def shared_queue(make=SharedQueue) -> Iterator[tuple[Any, Check]]:
    with make(max_messages=4, max_bytes=1 << 20) as queue:
        queue.send(bytes(range(256)) * 20)
        queue.lease().give_back()
        yield queue, lambda: queue.receive_many(2, 0) == [(1, bytes(range(256))[::-1] * 20)]
        if queue.name:
            queue.remove()


@shared("`SharedQueue` with a name", answer_in_place)
def _() -> Iterator[tuple[Any, Check]]:
    yield from shared_queue(partial(SharedQueue.create, "start-methods"))


def answer_objects(queue: ObjectQueue) -> None:
    assert queue.get(timeout=LOOK) == [1, b"x" * 10_000]
    queue.task_done()
    queue.put({"answer": 2})


@shared("`ObjectQueue` without a name", answer_objects)
def object_queue(make=ObjectQueue) -> Iterator[tuple[Any, Check]]:
    with make(max_messages=4, max_bytes=1 << 20) as queue:
        queue.put([1, b"x" * 10_000])
        yield queue, lambda: queue.get(timeout=0) == {"answer": 2}
        if queue.name:
            queue.remove()


@shared("`ObjectQueue` with a name", answer_objects)
def _() -> Iterator[tuple[Any, Check]]:
    yield from object_queue(partial(ObjectQueue.create, "start-methods-objects"))


@shared("`MemoryQueue`", lambda queue: queue.send(b"lost"), gives="a copy")
def _() -> Iterator[tuple[Any, Check]]:
    with MemoryQueue() as queue:
        yield queue, lambda: len(queue) == 0


@shared("`MemoryPriorityQueue`", lambda queue: queue.send(b"lost"), gives="a copy")
def _() -> Iterator[tuple[Any, Check]]:
    with MemoryPriorityQueue() as queue:
        yield queue, lambda: len(queue) == 0


@shared("`QueueRelay`", lambda relay: relay.arm())
def _() -> Iterator[tuple[Any, Check]]:
    with SysvQueue.create() as queue:
        relay = QueueRelay(queue.id)
        try:
            yield relay, lambda: relay.collect().seen == Seen.NOTHING
        finally:
            relay.close()
            queue.remove()


# -- streams --


def answer(end: Channel) -> None:
    frame = end.receive(timeout=LOOK)
    (fd,) = frame.fds
    assert os.read(fd, 1) == b"x"
    end.send(frame.body * 50_000, ident=frame.ident, timeout=LOOK)
    end.close()


def answered(ours: Channel, theirs: Channel) -> bool:
    theirs.close()  # the child keeps its own
    assert ours.receive(timeout=LOOK) == Frame(0, 9, b"body" * 50_000, ())
    try:
        ours.receive(timeout=LOOK)
    except PeerGone:
        return True
    return False


@shared("`Channel`", answer, beside=True)
def _() -> Iterator[tuple[Any, Check]]:
    ours, theirs = Channel.pair()
    reading, writing = os.pipe()
    os.write(writing, b"x")
    ours.send(b"body", ident=9, fds=[reading])
    os.close(reading)
    os.close(writing)
    with ours, theirs:
        yield theirs, lambda: answered(ours, theirs)


@shared("`Client`, connected", lambda client: client.send(b"from the child"))
def _() -> Iterator[tuple[Any, Check]]:
    with socket.create_server(("127.0.0.1", 0)) as listening, Client(timeout=LOOK) as client:
        client.connect("127.0.0.1", listening.getsockname()[1], timeout=LOOK)
        peer = listening.accept()[0]
        with peer:
            yield client, lambda: peer.recv(100) == b"from the child"


def connect(client: Client) -> None:
    with client:
        client.connect("127.0.0.1", int(PORT.read_text()), timeout=LOOK)
        assert client.recv(timeout=LOOK) == b"whole\n"


@shared("`Client`, not connected", connect, gives="a copy")
def _() -> Iterator[tuple[Any, Check]]:
    client = Client(open_eof_split=True, package_eof=b"\n")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        PORT.write_text(str(listening.getsockname()[1]))
        waiting = multiprocessing.get_context("fork").Process(target=greet, args=(listening,))
        waiting.start()
        try:
            yield client, lambda: ended(waiting)
        finally:
            waiting.kill()
            waiting.join()
            waiting.close()


def greet(listening: socket.socket) -> None:
    peer, _ = listening.accept()
    with peer, listening:
        peer.sendall(b"whole\nand a part")
        assert peer.recv(1) == b""


def ended(process: multiprocessing.Process) -> bool:
    process.join(LOOK)
    return process.exitcode == 0


@shared("`TaskClient`", lambda client: client.post({"a": 1}, timeout=LOOK))
def _() -> Iterator[tuple[Any, Check]]:
    key = ftok(__file__, "t")
    with SysvQueue.create(key) as queue:
        try:
            with TaskClient(key) as client:
                yield client, lambda: b's:1:"a"' in queue.receive(timeout=0).body
        finally:
            queue.remove()


def retry(letters: DeadLetters) -> None:
    assert [letter.task_id for letter in letters] == [7, 7]
    letters.remove(1)


@shared("`DeadLetters`", retry)
def _() -> Iterator[tuple[Any, Check]]:
    letters = DeadLetters("letters.db")  # of a working directory that a child may not have
    letters.add(LETTER)
    letters.add(LETTER)
    yield letters, lambda: [letter.id for letter in letters] == [2]
    for path in Path().glob("letters.db*"):
        path.unlink()


def go_on(framer) -> None:
    assert framer.feed(b"llo" + b"\0\0\0\2hi") == [b"\0\0\0\5hello", b"\0\0\0\2hi"]


@shared("`Framer`", go_on, gives="a copy")
def _() -> Iterator[tuple[Any, Check]]:
    framer = Framing(open_length_check=True).framer()
    assert framer.feed(b"\0\0\0\5he") == []
    yield framer, lambda: framer.pending == 6


def same_values(values: tuple[Any, ...]) -> None:
    framing, columns, message, frame, letter, row = values
    assert framing == Framing(open_eof_split=True)
    assert columns == COLUMNS
    assert (message, frame) == (Message(1, b"m"), Frame(1, 2, b"f", ()))
    assert (letter, row.size) == (LETTER, 8)


@shared(
    "values: `Framing`, columns, `Message`, `Frame`, `DeadLetter`, statistics",
    same_values,
    gives="a copy",
)
def _() -> Iterator[tuple[Any, Check]]:
    with Table(8, columns=COLUMNS) as table:
        message, frame = Message(1, b"m"), Frame(1, 2, b"f", ())
        framing = Framing(open_eof_split=True)
        yield (framing, COLUMNS, message, frame, LETTER, table.statistics()), lambda: True


# -- a server --


def echo(server: Server, fd: int, reactor_id: int, data: bytes) -> None:
    server.send(fd, data)


def end(server: Server) -> None:
    STARTED.write_text(str(server.port))
    server.shutdown()


@shared("`Server`, before `start()`", lambda server: server.start())
def _() -> Iterator[tuple[Any, Check]]:
    server = Server("127.0.0.1", 0, worker_num=1, log_level="ERROR", runtime_dir=os.getcwd())
    server.on("receive", echo)
    server.on("start", end)
    try:
        yield server, lambda: STARTED.read_text() == str(server.port)
    finally:
        STARTED.unlink(missing_ok=True)
        for port in server.ports:
            port.forget()

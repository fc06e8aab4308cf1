"""Eight threads in each of four processes work on the same objects.

`python threads_work.py TURNS` gives each thread so many turns, `python threads_work.py 60s` gives it
turns for so long. The program prints what it found as JSON: {"turns": ..., "gil": ..., "faults":
[...]}. A fault is a row that is torn, a count that is lost, a message that is lost, doubled or
overtaken, a lock that two threads hold, an iterator that gives a row twice, or an error.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any

from deadlines import RUN

from ipckit import (
    Atomic,
    Channel,
    Int,
    Lock,
    MisuseError,
    PeerGone,
    PosixQueue,
    QueueEmpty,
    QueueFull,
    Str,
    SysvQueue,
    Table,
)

PROCESSES, THREADS = 4, 8
ROWS, LETTERS = 16, 3000
FIXED = 300
COLUMNS = {"n": Int(), "by": Int(), "text": Str(4000)}
BODIES = (0, 1, 100, 32_000, 100_000)
NOTE = struct.Struct("<II")


class Shared:
    """What all of them have; made before the processes are."""

    def __init__(self) -> None:
        self.name = f"threads-{os.getpid()}"
        self.table = Table(1000, columns=COLUMNS, name=self.name)
        self.fixed = Table(FIXED, columns={"n": Int()})
        for number in range(FIXED):
            self.fixed[f"{number}"] = {"n": number}
        for number in range(ROWS):
            self.table[f"row{number}"] = {"n": ord("a"), "text": "a" * LETTERS}
        self.total, self.inside, self.counted, self.notes = Atomic(), Atomic(), Atomic(), Atomic()
        self.lock = Lock()
        self.queue = SysvQueue.create()
        self.posix = PosixQueue.create(f"/{self.name}", max_messages=4, max_message_size=100)

    def remove(self) -> None:
        self.table.remove()
        self.queue.remove()
        self.posix.remove()


class Worker:
    """One process and its threads."""

    def __init__(self, shared: Shared, number: int, more: Callable[[int], bool]) -> None:
        self.shared, self.number, self.more = shared, number, more
        self.faults: list[str] = []
        self.channels = [Channel.pair() for _ in range(THREADS // 2)]
        self.turns = [0] * THREADS

    def check(self, right: bool, what: str) -> None:
        if not right:
            self.faults.append(what)

    def beside(self, *bodies: Callable[[], Any]) -> None:
        """Run them in threads of their own, from one moment on."""
        barrier = threading.Barrier(len(bodies))

        def run(body: Callable[[], Any]) -> None:
            try:
                barrier.wait(RUN)
                body()
            except BaseException:
                self.faults.append(traceback.format_exc())

        threads = [threading.Thread(target=run, args=(body,)) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def work(self) -> None:
        self.beside(
            *[lambda number=number: self.turn_after_turn(number) for number in range(THREADS)]
        )
        for _ in range(20):
            self.share_an_iterator()
            self.close_beside_calls()

    def turn_after_turn(self, number: int) -> None:
        me = self.number * THREADS + number
        turn = 0
        try:
            while not self.faults and self.more(turn):
                self.rows(me, turn)
                self.locks()
                self.message(me, turn)
                self.frame(number, turn)
                turn += 1
        finally:  # the other thread of the channel may have more turns left
            self.channels[number // 2][number % 2].close()
        self.turns[number] = turn
        mine = self.shared.table.get(f"own{me}", "by") or 0
        self.check(mine == turn, f"thread {me}: {mine} of {turn} in its own row")

    def rows(self, me: int, turn: int) -> None:
        table = self.shared.table
        letter = chr(97 + (me + turn) % 26)
        table.set(f"row{turn % ROWS}", {"n": ord(letter), "text": letter * LETTERS})
        for key in (f"row{turn % ROWS}", f"row{me % ROWS}"):
            row = table.get(key)
            self.check(
                row is not None and row["text"] == chr(row["n"]) * LETTERS, f"a torn row: {row}"
            )
        table.incr("shared", "by")
        table.incr(f"own{me}", "by")
        with table.lock("held", timeout=RUN) as row:
            self.check(row["n"] == row["by"], f"the lock shows a row that is half done: {row}")
            row["n"] += 1
            row["by"] += 1

    def locks(self) -> None:
        shared = self.shared
        shared.total.add()
        with shared.lock:
            self.check(shared.inside.add() == 1, "two threads hold the lock")
            shared.counted.set(shared.counted.get() + 1)
            shared.inside.sub()

    def message(self, me: int, turn: int) -> None:
        """There are as many messages as threads that wait for one, so each of them gets one."""
        queue = self.shared.queue
        queue.send(NOTE.pack(me, turn), type=me + 1, timeout=RUN)
        got = queue.receive(timeout=RUN)
        sender, number = NOTE.unpack(got.body)
        self.check(got.type == sender + 1, f"a message of {sender} has type {got.type}")
        self.shared.notes.add((sender + 1) * (number + 1))
        self.shared.notes.sub((me + 1) * (turn + 1))

    def frame(self, number: int, turn: int) -> None:
        """An even thread sends to the odd one behind it."""
        one, other = self.channels[number // 2]
        body = bytes([turn % 256]) * BODIES[turn % len(BODIES)]
        try:
            if number % 2 == 0:
                one.send(body, ident=turn, timeout=RUN)
                return
            frame = other.receive(timeout=RUN)
        except PeerGone:
            return
        self.check(
            (frame.ident, frame.body) == (turn, body),
            f"frame {frame.ident} of {len(frame.body)} bytes comes as number {turn}",
        )

    def share_an_iterator(self) -> None:
        """Each row comes to one of the threads, and comes once."""
        rows = iter(self.shared.fixed.items())
        seen: list[str] = []
        self.beside(*[lambda: seen.extend(key for key, _ in rows)] * THREADS)
        self.check(
            Counter(seen) == Counter(map(str, range(FIXED))),
            f"{len(seen)} rows of {FIXED}, {len(set(seen))} different ones",
        )

    def close_beside_calls(self) -> None:
        """A call of a handle that another thread closes has its answer, or raises MisuseError."""
        table = Table.open(self.shared.name)
        posix = PosixQueue.open(f"/{self.shared.name}")
        calls: list[Callable[[], Any]] = [
            lambda: table.get("row1"),
            lambda: table.set("row2", {"n": ord("z"), "text": "z" * LETTERS}),
            lambda: list(table.keys()),
            lambda: table.incr("closed", "by"),
            lambda: _unless(QueueFull, lambda: posix.send_nowait(b"x")),
            lambda: _unless(QueueEmpty, posix.receive_nowait),
        ]
        began = threading.Barrier(len(calls) + 2)

        def until_closed(call: Callable[[], Any]) -> None:
            call()
            began.wait(RUN)
            end = monotonic() + RUN
            try:
                while monotonic() < end:
                    call()
            except MisuseError:
                return
            self.faults.append("a call goes on after close()")

        def close() -> None:
            began.wait(RUN)
            table.close()
            posix.close()

        self.beside(*[lambda call=call: until_closed(call) for call in calls], close, close)


def _unless(error: type[Exception], call: Callable[[], Any]) -> None:
    try:
        call()
    except error:
        pass


def in_child(worker: Worker, told: int) -> None:
    try:
        worker.work()
    except BaseException:
        worker.faults.append(traceback.format_exc())
    answer = json.dumps({"turns": sum(worker.turns), "faults": worker.faults[:3]})
    os.write(told, answer.encode()[:60_000])
    os._exit(0)


def main(size: str) -> dict[str, Any]:
    shared = Shared()
    if size.endswith("s"):
        end = monotonic() + float(size[:-1])

        def more(turn: int) -> bool:
            return monotonic() < end
    else:

        def more(turn: int) -> bool:
            return turn < int(size)

    answers = []
    for number in range(PROCESSES):
        reading, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            in_child(Worker(shared, number, more), told)
        os.close(told)
        answers.append((pid, reading))
    turns, faults = 0, []
    for pid, reading in answers:
        with open(reading, "rb") as file:
            said = file.read()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code or not said:
            faults.append(f"a process ended with {code}")
        else:
            told = json.loads(said)
            turns += told["turns"]
            faults += told["faults"]
    if not faults:
        table = shared.table
        for what, found in {
            "the shared row": table.get("shared", "by"),
            "the row with a lock": table.get("held", "by"),
            "the atomic number": shared.total.get(),
            "the number under the lock": shared.counted.get(),
        }.items():
            if found != turns:
                faults.append(f"{what}: {found} of {turns}")
        if shared.notes.get() or len(shared.queue):
            faults.append(f"messages: {shared.notes.get()}, {len(shared.queue)} are left")
        faults += map(str, table.verify())
    shared.remove()
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return {"turns": turns, "gil": gil, "faults": faults}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))

"""A shared table between real processes: nothing is lost, torn or held up, whoever is killed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest
from deadlines import LOOK
from family import all_well, family

from ipckit.errors import DeadlockError, MisuseError, TableFull, WaitTimeout
from ipckit.sync import Atomic
from ipckit.table import Bytes, Float, Int, Str, Table

COLUMNS = {"a": Int(8), "b": Int(8), "text": Str(200)}


def pair(value: int) -> dict:
    """A row whose columns belong together: every mix of two versions shows."""
    return {"a": value, "b": -value, "text": f"{value} " * 20}


def whole(row: dict) -> bool:
    return row == pair(row["a"])


class Step:
    """A number that processes wait for."""

    def __init__(self) -> None:
        self._at = Atomic()

    def reach(self, value: int) -> None:
        self._at.set(value)
        self._at.wake(1000)

    def wait(self, value: int) -> None:
        while (now := self._at.get()) < value:
            assert self._at.wait(now, LOOK), f"step {value} did not come"


@pytest.mark.parametrize("keys", [1, 16])
def test_increments_of_processes_and_threads_add_up(keys):
    with Table(64, columns={"n": Int(8), "x": Float()}) as table:

        def count(seed):
            names = random.Random(seed)
            for _ in range(4000):
                table.incr(f"k{names.randrange(keys)}", "n")
                table.incr(f"k{names.randrange(keys)}", "x", 0.5)

        def work(seed):
            threads = [threading.Thread(target=count, args=(seed + i,)) for i in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LOOK)

        with family() as start:
            assert all_well(*[start(work, 10 * i) for i in range(4)])
        assert sum(row["n"] for row in table.values()) == 4 * 2 * 4000
        assert sum(row["x"] for row in table.values()) == 4 * 2 * 4000 * 0.5
        assert table.verify() == []


def test_columns_written_together_are_never_seen_apart():
    with Table(8, columns=COLUMNS) as table:
        table["k"] = pair(0)
        done = Step()

        def write(first):
            for value in range(first, first + 20_000):
                table.set("k", pair(value))

        def read():
            seen = 0
            while not done._at.get():
                assert whole(table["k"])
                assert whole(dict(table.items())["k"])
                seen += 1
            assert seen > 100

        with family() as start:
            readers = [start(read) for _ in range(2)]
            assert all_well(start(write, 0), start(write, 10**6))
            done.reach(1)
            assert all_well(*readers)
        assert table.verify() == []


def test_iteration_sees_every_lasting_row_exactly_once_while_others_come_and_go():
    with Table(60, columns=COLUMNS) as table:
        lasting = {f"l{i}" for i in range(20)}
        for i, key in enumerate(sorted(lasting)):
            table[key] = pair(i)
        done = Step()

        def churn(seed):
            rng = random.Random(seed)
            while not done._at.get():
                key = f"c{seed}{rng.randrange(15)}"
                if rng.random() < 0.5:
                    table[key] = pair(rng.randrange(1000))
                else:
                    table.delete(key)
                table[f"l{rng.randrange(20)}"] = pair(rng.randrange(1000))

        with family() as start:
            churners = [start(churn, seed) for seed in range(2)]
            for _ in range(1500):
                seen = list(table)
                assert lasting <= set(seen)
                assert all(seen.count(key) == 1 for key in lasting)
            # Two nested iterators: each sees all, whatever the other does.
            inner = 0
            for key, row in table.items():
                assert whole(row)
                if key in lasting:
                    inner += len(lasting & set(table.keys()))
            assert inner == 20 * 20
            done.reach(1)
            assert all_well(*churners)
        assert table.verify() == []


def test_lock_is_read_modify_write_of_one_row_and_holds_up_no_other():
    with Table(16, columns=COLUMNS) as table:
        table["k"] = pair(0)
        step = Step()

        def add():
            for _ in range(1500):
                with table.lock("k") as row:
                    row.update(pair(row["a"] + 1))

        def hold():
            with table.lock("held") as row:
                row["a"] = 1
                step.reach(1)
                step.wait(2)

        with family() as start:
            holder = start(hold)
            step.wait(1)
            # Everything else goes on; the held row is seen as it was: not at all.
            assert all_well(*[start(add) for _ in range(4)])
            assert "held" not in table
            assert table.get("held") is None
            for i in range(14):
                table[f"o{i}"] = pair(i)
            with pytest.raises(TableFull):
                table["one more"] = pair(1)  # the held place is taken
            with pytest.raises(WaitTimeout), table.lock("held", timeout=0.05):
                pass
            step.reach(2)
            assert all_well(holder)
        assert table["k"] == pair(6000)
        assert table["held"]["a"] == 1
        assert table.verify() == []


@pytest.mark.parametrize("processes", [2, 3])
def test_a_cycle_of_locks_is_a_deadlock_error_for_one_and_success_for_the_others(processes):
    with Table(8, columns={"n": Int()}) as table:
        ready, failed = Atomic(), Atomic()

        def take(number):
            with table.lock(f"k{number}"):
                ready.add()
                ready.wake(processes)
                while (now := ready.get()) < processes:
                    assert ready.wait(now, LOOK)
                try:
                    with table.lock(f"k{(number + 1) % processes}") as row:
                        row["n"] += 1
                except DeadlockError:
                    failed.add()

        with family() as start:
            assert all_well(*[start(take, i) for i in range(processes)])
        assert failed.get() >= 1
        assert sum(row["n"] for row in table.values()) == processes - failed.get()
        assert table.verify() == []


def test_a_killed_holder_leaves_the_row_as_it_was_and_its_lock_free():
    with Table(4, columns=COLUMNS) as table:
        table["k"] = pair(7)
        step = Step()

        def hold():
            with table.lock("k") as row, table.lock("new") as new:
                row.update(pair(8))
                new.update(pair(9))
                step.reach(1)
                signal.pause()

        with family() as start:
            holder = start(hold)
            step.wait(1)
            holder.kill()
        assert table["k"] == pair(7)
        began = time.monotonic()
        with table.lock("k", timeout=LOOK) as row:
            row.update(pair(row["a"] + 3))
        assert time.monotonic() - began < LOOK / 2
        for key in ("x", "y", "z"):  # the reserved place is free as well
            table[key] = pair(1)
        assert table["k"] == pair(10)
        assert table.verify() == []


def test_a_waiting_writer_gets_the_row_when_its_holder_dies():
    with Table(4, columns=COLUMNS) as table:
        step = Step()

        def hold():
            with table.lock("k"):
                step.reach(1)
                signal.pause()

        def write():
            step.reach(2)
            table["k"] = pair(5)

        with family() as start:
            holder = start(hold)
            step.wait(1)
            writer = start(write)
            step.wait(2)
            holder.kill()
            assert all_well(writer)
        assert table["k"] == pair(5)


def test_a_stopped_holder_is_not_robbed_and_readers_go_on():
    with Table(4, columns=COLUMNS) as table:
        table["k"] = pair(1)
        step = Step()

        def hold():
            with table.lock("k") as row:
                row.update(pair(2))
                step.reach(1)
                step.wait(2)

        with family() as start:
            holder = start(hold)
            step.wait(1)
            os.kill(holder.pid, signal.SIGSTOP)
            os.waitpid(holder.pid, os.WUNTRACED)
            assert table["k"] == pair(1)
            with pytest.raises(WaitTimeout), table.lock("k", timeout=0.3):
                pass
            os.kill(holder.pid, signal.SIGCONT)
            step.reach(2)
            assert all_well(holder)
        assert table["k"] == pair(2)


def test_a_fork_inside_the_block_does_not_share_the_lock():
    with Table(4, columns=COLUMNS) as table:

        def child(block):
            with pytest.raises(MisuseError, match="forked"):
                block.__exit__(None, None, None)
            with pytest.raises(WaitTimeout), table.lock("k", timeout=0.02):
                pass

        block = table.lock("k")
        row = block.__enter__()
        row.update(pair(3))
        with family() as start:
            assert all_well(start(child, block))
        block.__exit__(None, None, None)
        assert table["k"] == pair(3)


def test_an_ended_thread_leaves_nothing_locked_and_its_process_alive():
    with Table(4, columns=COLUMNS) as table:

        def die_inside():
            table.lock("k").__enter__()

        thread = threading.Thread(target=die_inside)
        thread.start()
        thread.join(LOOK)
        with table.lock("k", timeout=LOOK) as row:
            row.update(pair(1))
        threads = [
            threading.Thread(target=table.set, args=(f"t{i % 3}", pair(i))) for i in range(700)
        ]
        for thread in threads:  # more than there are slots, one after the other
            thread.start()
            thread.join(LOOK)
        assert len(table) == 4
        assert table.verify() == []


def test_a_large_row_under_constant_writes_is_read():
    with Table(2, columns={"body": Bytes(2**20), "n": Int()}) as table:
        done = Step()
        table["k"] = {"body": b"", "n": 0}

        def write():
            value = 0
            while not done._at.get():
                value += 1
                table.set("k", {"body": bytes([value % 256]) * 2**20, "n": value})

        with family() as start:
            writers = [start(write) for _ in range(2)]
            worst = 0.0
            for _ in range(200):
                began = time.thread_time()
                row = table["k"]
                worst = max(worst, time.thread_time() - began)
                assert row["body"] == row["body"][:1] * len(row["body"])
                assert not row["body"] or row["body"][0] == row["n"] % 256
            done.reach(1)
            assert all_well(*writers)
        print(f"worst read of 1 MiB beside two writers: {worst * 1e3:.1f} ms of the processor")
        assert worst < 1


@pytest.mark.parametrize("kills", [10_000 if os.environ.get("IPCKIT_SOAK") else 1000])
def test_random_kills_of_python_writers_lose_and_tear_nothing(kills):
    """The C core has its own, larger run; here the whole door is under the knife."""
    with Table(40, columns=COLUMNS) as table:
        lasting = [f"l{i}" for i in range(8)]
        for key in lasting:
            table[key] = pair(1)
        finished = Atomic()

        def work(seed):
            rng = random.Random(seed)
            while True:
                key = f"c{rng.randrange(60)}"
                match rng.randrange(6):
                    case 0 | 1:
                        try:
                            table[key] = pair(rng.randrange(1000))
                        except TableFull:
                            table.delete(f"c{rng.randrange(60)}")
                    case 2:
                        table.delete(key)
                    case 3:
                        table[rng.choice(lasting)] = pair(rng.randrange(1000))
                    case 4:
                        with table.lock(rng.choice(lasting)) as row:
                            row.update(pair(row["a"] + 1))
                    case 5:
                        assert all(whole(row) for row in table.values())
                finished.add()
                finished.wake()

        rng = random.Random(1)
        slowest = 0.0
        with family() as start:
            workers = [start(work, seed) for seed in range(4)]
            for number in range(kills):
                before = finished.get()
                assert finished.wait(before, LOOK)
                victim = rng.randrange(len(workers))
                workers[victim].kill()
                workers[victim] = start(work, 1000 + number)
                began = time.monotonic()
                for key in lasting:
                    table[key] = pair(number)
                slowest = max(slowest, time.monotonic() - began)
                assert set(lasting) <= set(table)
            for worker in workers:
                worker.kill()
        assert all(whole(row) for row in table.values())
        assert table.verify() == []
        for key in list(table):
            del table[key]
        for i in range(40):
            table[f"n{i}"] = pair(i)
        with pytest.raises(TableFull):
            table["n40"] = pair(40)
        print(
            f"{kills} kills, {finished.get():,} operations, slowest eight writes {slowest * 1e3:.1f} ms"
        )
        assert slowest < LOOK / 4


def test_an_interrupt_at_any_moment_leaves_no_lock_taken():
    """Ctrl-C as often as it can come: the row is changed once or not at all, and free afterwards."""
    with Table(4, columns=COLUMNS) as table:
        table["k"] = pair(0)

        class Interrupt(BaseException):
            pass

        armed = []

        def interrupt(number, frame):
            if armed:
                armed.clear()
                raise Interrupt

        def work():
            signal.signal(signal.SIGALRM, interrupt)
            for _ in range(3000):
                before = table.get("k", "a")
                try:
                    armed.append(1)
                    signal.setitimer(signal.ITIMER_REAL, random.random() * 1e-4 + 1e-6)
                    while True:
                        with table.lock("k") as row:
                            row.update(pair(row["a"] + 1))
                except Interrupt:
                    pass
                assert whole(table["k"])
                assert table.get("k", "a") >= before
                with table.lock("k", timeout=0):
                    pass

        with family() as start:
            assert all_well(start(work))
        assert table.verify() == []

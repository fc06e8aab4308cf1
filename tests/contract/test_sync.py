"""The rules of Atomic and Lock (docs/contracts/sync.md), by their numbers."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import threading
import time

import pytest
from deadlines import LOOK
from family import all_well, family

from ipckit.errors import DeadlockError, MisuseError
from ipckit.sync import Atomic, Lock

LEAST, MOST = -(2**63), 2**63 - 1


def test_a1_a_number_changes_by_calls_that_return_what_it_is_then():
    """A1."""
    number = Atomic(5)
    assert (number.add(), number.add(3), number.sub(), number.sub(10)) == (6, 9, 8, -2)
    number.set(LEAST)
    assert number.get() == LEAST
    assert Atomic().get() == 0
    assert repr(Atomic(-3)) == "Atomic(-3)"


def test_a1_compare_and_set_says_whether_it_did():
    """A1."""
    number = Atomic(5)
    assert not number.compare_and_set(4, 9)
    assert number.compare_and_set(5, MOST)
    assert number.get() == MOST
    assert number.compare_and_set(expected=MOST, value=-1)


@pytest.mark.parametrize(
    ("start", "call"),
    [
        (MOST, lambda n: n.add()),
        (LEAST, lambda n: n.sub()),
        (-2, lambda n: n.add(LEAST)),
        (2, lambda n: n.sub(LEAST)),
        (1, lambda n: n.add(2**63)),
        (1, lambda n: n.set(2**63)),
        (1, lambda n: n.compare_and_set(1, 2**63)),
        (1, lambda n: n.compare_and_set(2**63, 1)),
        (1, lambda n: n.wait(2**63)),
    ],
)
def test_a2_what_leaves_64_bits_is_refused_and_changes_nothing(start, call):
    """A2."""
    number = Atomic(start)
    with pytest.raises(OverflowError, match="64 bits"):
        call(number)
    assert number.get() == start


@pytest.mark.parametrize("wrong", ["1", 1.5, None, b"1"])
def test_a2_only_ints(wrong):
    """A2."""
    for call in (Atomic, Atomic(0).add, Atomic(0).set, Atomic(0).wait):
        with pytest.raises(TypeError, match="int"):
            call(wrong)


def test_a3_additions_of_many_processes_and_threads_add_up():
    """A3: no step is lost."""
    number = Atomic()

    def add():
        threads = [
            threading.Thread(target=lambda: [number.add(3) for _ in range(5000)]) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for _ in range(5000):
            number.sub()
        for thread in threads:
            thread.join(LOOK)

    with family() as start:
        assert all_well(*[start(add) for _ in range(4)])
    assert number.get() == 4 * (2 * 3 * 5000 - 5000)


def test_a4_wait_returns_at_once_when_the_value_is_another():
    """A4."""
    number = Atomic(1)
    assert number.wait(2)
    assert number.wait(2, timeout=0)
    assert not number.wait(1, timeout=0)
    assert not number.wait(1, 0.02)
    assert number.wake() == 0
    with pytest.raises(ValueError, match="timeout"):
        number.wait(1, -1)
    with pytest.raises(ValueError, match="n=0"):
        number.wake(0)


def test_a4_no_wake_up_is_lost():
    """A4: two processes hand a number to each other; the 50 ms look is not what carries them.

    The control is a byte that they hand to each other through pipes, in each round.
    """
    rounds = 100_000 if os.environ.get("IPCKIT_SOAK") else 3_000
    number = Atomic()
    there, back = os.pipe(), os.pipe()

    def answer():
        for turn in range(rounds):
            assert number.wait(2 * turn, LOOK)
            number.add()
            number.wake()
            os.write(back[1], os.read(there[0], 1))

    late, late_control = 0, 0
    with family() as start:
        child = start(answer)
        for turn in range(rounds):
            began = time.monotonic()
            number.add()
            number.wake()
            assert number.wait(2 * turn + 1, LOOK)
            late += time.monotonic() - began > 0.025
            began = time.monotonic()
            os.write(there[1], b"x")
            os.read(back[0], 1)
            late_control += time.monotonic() - began > 0.025
        assert all_well(child)
    for fd in (*there, *back):
        os.close(fd)
    assert number.get() == 2 * rounds
    # Every lost one costs 50 ms: some in a hundred rounds would show.
    assert late <= 3 * late_control + rounds // 300


def test_a4_a_change_of_the_upper_half_is_seen():
    """A4: 5 and 2**32 + 5 differ only where a 32-bit futex does not look."""
    number = Atomic(5)
    with family() as start:
        child = start(lambda: number.wait(5, LOOK) or os.abort())
        number.set(2**32 + 5)
        number.wake()
        assert all_well(child)


def test_a5_a_signal_handler_runs_in_a_wait_and_may_end_it():
    """A5."""
    number = Atomic()

    def interrupt():
        signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):  # on a busy machine also before the wait has begun
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            number.wait(0)
        signal.signal(signal.SIGALRM, lambda *_: number.set(1))
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert number.wait(0, LOOK)

    with family() as start:
        assert all_well(start(interrupt))


def test_l1_one_holder_at_a_time():
    """L1: what is read and written back under the lock is not lost."""
    lock, number = Lock(), Atomic()

    def work():
        for _ in range(3000):
            with lock:
                number.set(number.get() + 1)

    with family() as start:
        assert all_well(*[start(work) for _ in range(4)])
    assert number.get() == 12_000
    assert not lock.locked()


def test_l2_acquire_waits_for_the_time_given():
    """L2."""
    lock = Lock()
    assert lock.acquire()
    assert repr(lock) == "<Lock, taken>"

    def other():
        assert not lock.acquire(timeout=0)
        assert not lock.acquire(0.02)

    with family() as start:
        assert all_well(start(other))
    lock.release()
    assert lock.acquire(timeout=0)
    with pytest.raises(ValueError, match="timeout"):
        lock.acquire(float("nan"))


def test_l2_a_waiter_gets_it_when_it_is_released():
    """L2."""
    lock, said = Lock(), Atomic()
    lock.acquire()

    def other():
        said.set(1)
        said.wake()
        assert lock.acquire(LOOK)
        assert not lock.recovered

    with family() as start:
        child = start(other)
        assert said.wait(0, LOOK)
        lock.release()
        assert all_well(child)


def test_l3_only_the_holder_releases():
    """L3: another thread or process gets MisuseError, and nothing changes."""
    lock = Lock()
    with pytest.raises(MisuseError, match="does not hold"):
        lock.release()
    lock.acquire()

    def other():
        with pytest.raises(MisuseError, match="does not hold"):
            lock.release()

    with family() as start:
        assert all_well(start(other))
    failed = []
    thread = threading.Thread(target=lambda: failed.append(other()))
    thread.start()
    thread.join(LOOK)
    assert failed == [None]
    assert lock.locked()
    lock.release()
    assert not lock.locked()


def test_l4_taking_it_twice_is_a_deadlock_unless_time_ends_it():
    """L4."""
    lock = Lock()
    lock.acquire()
    with pytest.raises(DeadlockError, match="already"):
        lock.acquire()
    assert not lock.acquire(timeout=0)
    assert not lock.acquire(timeout=0.02)
    lock.release()
    assert not lock.locked()


@pytest.mark.parametrize("waits", [False, True])
def test_l5_a_dead_holder_is_survived_and_told(waits):
    """L5: kill -9 inside; the next owner has it without a wait and learns it; the one after not."""
    lock, held = Lock(), Atomic()

    def hold():
        lock.acquire()
        held.set(1)
        held.wake()
        signal.pause()

    def wait():
        held.add()
        held.wake()
        began = time.monotonic()
        assert lock.acquire()
        assert lock.recovered
        assert time.monotonic() - began < LOOK / 2
        lock.release()

    with family() as start:
        holder = start(hold)
        assert held.wait(0, LOOK)
        waiter = start(wait) if waits else None
        if waiter:
            assert held.wait(1, LOOK)
        holder.kill()
        if waiter:
            assert all_well(waiter)
    assert lock.acquire(LOOK)
    assert lock.recovered is not waits
    lock.release()
    assert lock.acquire(LOOK)
    assert not lock.recovered


def test_l5_a_killed_waiter_blocks_nobody():
    """L5."""
    lock, waiting = Lock(), Atomic()
    lock.acquire()

    def wait():
        waiting.add()
        waiting.wake()
        lock.acquire()

    with family() as start:
        waiters = [start(wait) for _ in range(3)]
        while waiting.get() < 3:
            assert waiting.wait(waiting.get(), LOOK) or waiting.get() == 3
        for waiter in waiters:
            waiter.kill()
        lock.release()
        assert lock.acquire(LOOK)
        assert not lock.recovered


def test_l6_an_ended_thread_is_a_dead_holder_while_its_process_lives():
    """L6: and a thread that ends without the lock takes nothing along."""
    lock, other = Lock(), Lock()
    other.acquire()
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    thread.join(LOOK)
    assert lock.acquire(LOOK)
    assert lock.recovered
    assert other.locked()
    other.release()


def test_l7_a_stopped_holder_keeps_it():
    """L7: no time makes a living holder look dead."""
    lock, held = Lock(), Atomic()

    def hold():
        with lock:
            held.set(1)
            held.wake()
            assert held.wait(1, LOOK)

    with family() as start:
        holder = start(hold)
        assert held.wait(0, LOOK)
        os.kill(holder.pid, signal.SIGSTOP)
        os.waitpid(holder.pid, os.WUNTRACED)
        assert not lock.acquire(0.3)
        os.kill(holder.pid, signal.SIGCONT)
        held.set(2)
        held.wake()
        assert all_well(holder)
    assert lock.acquire(LOOK)
    assert not lock.recovered


def test_l8_a_holder_that_calls_exec_is_gone():
    """L8: nobody could release it any more."""
    lock, held = Lock(), Atomic()

    def hold():
        lock.acquire()
        held.set(1)
        held.wake()
        os.execv("/bin/sleep", ["sleep", "60"])

    with family() as start:
        start(hold)
        assert held.wait(0, LOOK)
        assert lock.acquire(LOOK)
        assert lock.recovered


def test_m1_cells_are_used_again_but_not_while_a_fork_shares_them():
    """M1."""
    for _ in range(5000):
        Atomic(7)
    shared = Atomic(1)

    def look():
        mine = [Atomic(9) for _ in range(3000)]
        assert [one.get() for one in mine] == [9] * 3000
        assert shared.wait(1, LOOK)
        assert shared.get() == 2

    with family() as start:
        child = start(look)
        address = shared
        others = [Atomic(5) for _ in range(3000)]
        del others
        gc.collect()
        assert [Atomic(3).get() for _ in range(3000)] == [3] * 3000
        address.set(2)
        address.wake()
        assert all_well(child)


def test_m2_no_other_process_can_use_a_pickle():
    """M2: those that are being started can; test_pickles.py."""
    for one in (Atomic(), Lock()):
        with pytest.raises(MisuseError, match=r"through inheritance.*in the args"):
            pickle.dumps(one)

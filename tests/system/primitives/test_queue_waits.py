"""Waits of real processes: signals, removal, time limits, kill -9, and nobody hoards messages."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
import traceback
import uuid
from time import monotonic

import pytest
import uvloop
from deadlines import LOOK
from leaks import state
from timing import soonest

from ipckit.errors import MisuseError, NotFound, QueueEmpty, QueueFull, QueueRemoved
from ipckit.queue import PosixQueue, SysvQueue


class Child:
    """A forked process that says one thing through a pipe when it likes, and its exit code."""

    def __init__(self, call):
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self._read)
                call(lambda text=b"ready": os.write(write, text + b"\n"))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(write)
        self.code = None

    def hear(self) -> bytes:
        assert select.select([self._read], [], [], LOOK)[0], "the child says nothing"
        return os.read(self._read, 1000).strip()

    def asleep(self) -> None:
        """Return when all its threads sleep in the kernel."""
        deadline = monotonic() + LOOK
        while monotonic() < deadline:
            if all(state(int(thread)) == "S" for thread in os.listdir(f"/proc/{self.pid}/task")):
                return
        raise AssertionError("the child does not sleep")

    def kill(self, signum=signal.SIGKILL) -> None:
        os.kill(self.pid, signum)

    def end(self) -> int:
        """Wait for it, kill it when it takes too long; return its exit code."""
        if self.code is None:
            pidfd = os.pidfd_open(self.pid)
            if not select.select([pidfd], [], [], LOOK)[0]:
                self.kill()
            os.close(pidfd)
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._read)
        return self.code


@pytest.fixture
def child():
    """Makes children, and ends them all."""
    made = []

    def make(call):
        made.append(Child(call))
        return made[-1]

    yield make
    for one in made:
        if one.code is None:
            one.kill()
            one.end()


@pytest.fixture
def queue():
    with SysvQueue.create() as queue:
        number = queue.id
        yield queue
        try:
            SysvQueue.open_id(number).remove()
        except NotFound:
            pass


@pytest.fixture
def posix():
    with PosixQueue.create(f"/ipckit-test-{uuid.uuid4().hex}", max_message_size=1024) as queue:
        yield queue
        queue.remove()


def threads_now() -> int:
    return len(os.listdir("/proc/self/task"))


def threads_fall_to(number: int) -> bool:
    """Whether so few are left soon: the kernel takes a moment after a join."""
    deadline = monotonic() + LOOK
    while threads_now() > number and monotonic() < deadline:
        os.sched_yield()
    return threads_now() <= number


def fill(queue) -> int:
    count = 0
    try:
        while True:
            queue.send_nowait(b"x" * 1024)
            count += 1
    except QueueFull:
        return count


@pytest.mark.parametrize("timeout", [None, LOOK])
@pytest.mark.parametrize("kind", ["queue", "posix"])
def test_q12_a_handler_that_returns_does_not_end_a_receive(request, child, kind, timeout):
    """Q12: it runs while the wait goes on, each time; the message still comes."""
    queue = request.getfixturevalue(kind)

    def receive(say):
        ran = []
        signal.signal(signal.SIGUSR1, lambda *_: (ran.append(1), say(b"handled")))
        say()
        got = queue.receive(timeout=timeout)
        assert got.body == b"late" and len(ran) == 20

    one = child(receive)
    one.hear()
    for _ in range(20):
        one.asleep()
        one.kill(signal.SIGUSR1)
        one.hear()
    one.asleep()
    queue.send_nowait(b"late")
    assert one.end() == 0


@pytest.mark.parametrize("kind", ["queue", "posix"])
def test_q12_a_handler_that_returns_does_not_end_a_send(request, child, kind):
    queue = request.getfixturevalue(kind)
    count = fill(queue)

    def send(say):
        signal.signal(signal.SIGUSR1, lambda *_: say(b"handled"))
        say()
        queue.send(b"y" * 1024, timeout=LOOK)

    one = child(send)
    one.hear()
    for _ in range(5):
        one.asleep()
        one.kill(signal.SIGUSR1)
        one.hear()
    assert [queue.receive(timeout=LOOK).body[:1] for _ in range(count + 1)] == [b"x"] * count + [
        b"y"
    ]
    assert one.end() == 0


@pytest.mark.parametrize("timeout", [None, LOOK])
def test_a_handler_that_raises_ends_a_wait(queue, child, timeout):
    """Ctrl-C works; nothing was taken."""

    def receive(say):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        say()
        with pytest.raises(KeyboardInterrupt):
            queue.receive(timeout=timeout)

    one = child(receive)
    one.hear()
    one.asleep()
    one.kill(signal.SIGINT)
    assert one.end() == 0
    queue.send_nowait(b"x")
    assert len(queue) == 1


def test_a_storm_of_signals_does_not_prolong_a_wait(queue, child):
    """The time that is left counts on: 0.3 s, with a signal every 2 ms."""

    def receive(say):
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)

        def wait():
            with pytest.raises(QueueEmpty):
                queue.receive(timeout=0.3)

        assert 0.3 <= soonest(wait) < 1

    assert child(receive).end() == 0


def test_q10_removal_ends_waits_of_other_processes(queue, child):
    """Q10: with QueueRemoved, with and without a time limit, sending and receiving."""
    fill(queue)

    def waiting(call):
        def run(say):
            say()
            with pytest.raises(QueueRemoved):
                call()

        return child(run)

    children = [
        waiting(lambda: queue.receive(type=5)),
        waiting(lambda: queue.receive(type=5, timeout=LOOK)),
        waiting(lambda: queue.send(b"y" * 1024)),
        waiting(lambda: queue.send(b"y" * 1024, timeout=LOOK)),
        waiting(lambda: asyncio.run(queue.areceive(type=5))),
        waiting(lambda: asyncio.run(queue.asend(b"y" * 1024))),
    ]
    for one in children:
        one.hear()
        one.asleep()
    queue.remove()
    assert [one.end() for one in children] == [0] * 6


@pytest.mark.parametrize("timeout", [0.001, 0.02, 0.3])
def test_q6_time_limits(queue, posix, timeout):
    """Q6: never early, and not late by a second."""

    for kind in (queue, posix):

        def receive(kind=kind):
            with pytest.raises(QueueEmpty):
                kind.receive(timeout=timeout)

        assert timeout <= soonest(receive) < timeout + 1


def test_q6_short_limits_are_never_lost(queue):
    """M1: an alarm that strikes just before the system call would leave it waiting for ever."""
    for turn in range(2000):
        with pytest.raises(QueueEmpty):
            queue.receive(timeout=turn * 1e-8)


def test_q6_time_limits_of_many_threads(queue):
    """Each thread's alarm ends its own wait, also where the signal is blocked."""
    late = []

    def wait(seconds):
        signal.pthread_sigmask(signal.SIG_BLOCK, set(range(signal.SIGRTMIN, signal.SIGRTMAX + 1)))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        start = monotonic()
        try:
            queue.receive(timeout=seconds)
        except QueueEmpty:
            late.append(monotonic() - start - seconds)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before

    threads = [threading.Thread(target=wait, args=(0.02 * turn,)) for turn in range(1, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LOOK)
    assert len(late) == 10 and 0 <= min(late) < 1


def lost_with_killed(queue, child, receive, turns) -> int:
    """Send to a waiting receiver, kill it when all its threads sleep again, many times; return how
    many messages are gone.
    """
    lost = 0
    for turn in range(turns):
        one = child(receive)
        one.hear()
        one.asleep()
        queue.send_nowait(b"%d" % turn)
        one.asleep()
        one.kill()
        assert one.end() == -signal.SIGKILL
        try:
            assert queue.receive_nowait().body == b"%d" % turn
        except QueueEmpty:
            lost += 1
    return lost


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_q13_kill_9_of_an_areceive_loses_nothing(queue, child, loop):
    """Q13: until the loop turns the message is in the queue; a plain receive() takes it (Q14)."""

    def in_a_loop(say):
        async def take():
            waiting = asyncio.ensure_future(queue.areceive())
            await asyncio.sleep(0.001)
            say()
            signal.pause()  # holds up the loop, on purpose
            waiting.cancel()

        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(take())

    def blocked(say):
        say()
        queue.receive()
        signal.pause()

    assert lost_with_killed(queue, child, blocked, 20) == 20, "this test would show nothing"
    assert lost_with_killed(queue, child, in_a_loop, 60) == 0


def test_q14_what_a_dead_reader_had_received_is_gone(queue, posix, child):
    """Q14: receiving consumes; nothing brings the message back."""
    for kind in (queue, posix):
        kind.send_nowait(b"work")

        def receive(say, kind=kind):
            say(kind.receive(timeout=LOOK).body)
            signal.pause()

        one = child(receive)
        assert one.hear() == b"work"
        one.kill()
        assert one.end() == -signal.SIGKILL
        assert len(kind) == 0


def test_q13_a_busy_receiver_hoards_nothing(queue, child):
    """A process with an areceive under way that does not run its loop leaves messages to others."""

    def busy(say):
        async def take():
            waiting = asyncio.ensure_future(queue.areceive())
            await asyncio.sleep(0.01)
            say()
            signal.sigwait({signal.SIGUSR1})  # holds up the loop, on purpose
            waiting.cancel()

        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        asyncio.run(take())

    one = child(busy)
    one.hear()
    for turn in range(10):
        queue.send_nowait(b"%d" % turn)
    assert [queue.receive(timeout=LOOK).body for _ in range(10)] == [b"%d" % n for n in range(10)]
    one.kill(signal.SIGUSR1)
    assert one.end() == 0


def test_each_message_goes_to_one_of_many_receivers(queue, child):
    """Four processes, half of them in loops, share 200 messages; each is received once."""

    def say_all(say, bodies):
        say(b",".join(bodies) or b"-")

    def blocking(say):
        mine = []
        while (body := queue.receive(type=-1, timeout=LOOK).body) != b"end":
            mine.append(body)
        say_all(say, mine)

    def looping(say):
        async def take():
            mine = []
            while (body := (await queue.areceive(timeout=LOOK)).body) != b"end":
                mine.append(body)
            say_all(say, mine)

        asyncio.run(take())

    children = [child(call) for call in (blocking, looping, blocking, looping)]
    for number in range(200):
        queue.send(b"%d" % number, timeout=LOOK)
    for _ in children:
        queue.send(b"end", timeout=LOOK)
    got = [one.hear() for one in children]
    assert [one.end() for one in children] == [0] * 4
    bodies = [int(body) for part in got if part != b"-" for body in part.split(b",")]
    assert sorted(bodies) == list(range(200))


def test_a_child_of_a_fork_uses_the_queue_at_once(queue, child):
    """Also when the parent's object waits in a loop; neither disturbs the other."""

    async def parent():
        waiting = asyncio.create_task(queue.areceive(type=1))
        await asyncio.sleep(0.01)

        def receive(say):
            asyncio.events._set_running_loop(None)  # a fork inside a loop: the child leaves it
            assert asyncio.run(queue.areceive(type=2, timeout=LOOK)).body == b"child"
            queue.close()
            say(b"done")

        one = child(receive)
        queue.send_nowait(b"child", type=2)
        heard = await asyncio.to_thread(one.hear)
        code = await asyncio.to_thread(one.end)
        queue.send_nowait(b"parent", type=1)
        return heard, code, (await asyncio.wait_for(waiting, LOOK)).body

    assert asyncio.run(parent()) == (b"done", 0, b"parent")


def test_a_child_of_a_fork_uses_a_posix_queue_at_once(posix, child):
    """Its close() is nothing to the parent, whose loop waits at the same descriptor."""

    async def parent():
        waiting = asyncio.create_task(posix.areceive())
        await asyncio.sleep(0.01)

        def leave(say):
            posix.close()
            PosixQueue.open(posix.name).send_nowait(b"from the child")

        one = child(leave)
        got = await asyncio.wait_for(waiting, LOOK)
        waiting = asyncio.create_task(posix.areceive())
        assert await asyncio.to_thread(one.end) == 0
        posix.send_nowait(b"again")
        return got.body, (await asyncio.wait_for(waiting, LOOK)).body

    assert asyncio.run(parent()) == (b"from the child", b"again")


def test_two_loops_in_two_threads(queue):
    """One queue object, areceives of one choice in two loops."""
    got = []

    def take():
        got.append(asyncio.run(queue.areceive(timeout=LOOK)).body)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(4):
        queue.send(b"%d" % number)
    for thread in threads:
        thread.join(LOOK)
    assert sorted(got) == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_q11_close_in_another_thread_wakes_a_loop(queue, loop):
    """Q11: all that wait there get MisuseError, and no thread or descriptor is left."""
    own = SysvQueue.open_id(queue.id)
    started, caught = threading.Event(), []

    async def wait_all():
        waiting = [asyncio.ensure_future(own.areceive(type=turn % 2)) for turn in range(4)]
        await asyncio.sleep(0.01)
        started.set()
        caught.extend(
            await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), LOOK)
        )

    def run():
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(wait_all())

    before = threads_now()
    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(LOOK)
    own.close()
    thread.join(LOOK)
    assert [type(exc) for exc in caught] == [MisuseError] * 4
    assert threads_fall_to(before)


def test_areceives_of_many_choices_keep_few_threads(queue):
    """A relay is kept for its next use, but not one for each type there ever was."""

    async def many():
        for kind in range(1, 31):
            waiting = asyncio.ensure_future(queue.areceive(type=kind))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            queue.send_nowait(b"x", type=kind)
            assert (await asyncio.wait_for(waiting, LOOK)).type == kind
        return threads_now()

    before = threads_now()
    assert before < asyncio.run(many()) <= before + 9
    queue.close()
    assert threads_fall_to(before)

"""A shared queue between real processes: nothing is lost or torn, and nobody waits, whoever dies."""

from __future__ import annotations

import itertools
import mmap
import os
import random
import select
import signal
from collections import Counter

import pytest
from deadlines import LOOK
from family import all_well, family

from ipckit.errors import QueueEmpty, QueueFull
from ipckit.queue import SharedQueue
from ipckit.sync import Atomic

PAGE = 4096


@pytest.fixture
def queue():
    with SharedQueue(max_messages=64, max_bytes=64 * PAGE, max_attempts=None) as queue:
        yield queue
        assert queue.verify() == []


class Pipe:
    """What a child tells: it is there, and holds what it is to hold."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def tell(self) -> None:
        os.write(self._write, b"x")

    def hear(self) -> None:
        assert select.select([self._read], [], [], LOOK)[0]
        os.read(self._read, 1)

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.close()


def hold(queue, pipe):
    """Have a lease and a reservation until killed."""
    job, space = queue.lease(), queue.reserve(queue.max_bytes // 2)
    space.buffer[:5] = b"never"
    pipe.tell()
    signal.pause()
    del job


def test_h3_a_receiver_that_waits_gets_what_a_killed_one_had(queue, pipe):
    """H3: the death itself wakes it; nothing else happens in the queue."""
    queue.send(b"a" * 500)
    with family() as start:
        holder = start(hold, queue, pipe)
        pipe.hear()

        def receive():
            with queue.lease(timeout=LOOK) as job:
                assert (job.body, job.attempt) == (b"a" * 500, 2)

        receiver = start(receive)
        holder.kill()
        assert all_well(receiver)
    assert len(queue) == 0 and queue.statistics().free_bytes == queue.max_bytes


def test_h3_a_sender_that_waits_gets_the_space_of_a_killed_one(queue, pipe):
    """H3: of a reservation; a call that may not wait gets it as well."""
    queue.send(b"a")
    with family() as start:
        holder = start(hold, queue, pipe)
        pipe.hear()
        with pytest.raises(QueueFull):
            queue.send_nowait(b"x" * queue.max_bytes)
        sender = start(lambda: queue.send(b"x" * queue.max_bytes, timeout=LOOK))
        holder.kill()
        assert all_well(sender)
    assert [message.body[:1] for message in queue.receive_many(9)] == [b"a", b"x"]
    queue.send_nowait(b"x" * queue.max_bytes)


def test_h3_those_that_wait_are_all_woken_in_turn(queue, pipe):
    """H3: eight receivers wait; the messages of one that is killed go to as many of them."""
    queue.send_many([b"%d" % number for number in range(8)])
    got = Atomic()

    def keep():
        leases = [queue.lease() for _ in range(8)]
        pipe.tell()
        signal.pause()
        del leases

    def receive():
        with queue.lease(timeout=LOOK) as job:
            got.add(10 ** int(bytes(job.body)))

    with family() as start:
        holder = start(keep)
        pipe.hear()
        receivers = [start(receive) for _ in range(8)]
        holder.kill()
        assert all_well(*receivers)
    assert got.get() == 11111111


def test_h8_messages_of_one_sender_stay_in_order(queue):
    """H8: for each receiver, whatever the sizes."""
    sizes = [0, 100, 300, PAGE, 5000]

    def send(sender):
        for number in range(1000):
            body = b"%d %d " % (sender, number)
            queue.send(body + b"." * sizes[number % 5], timeout=LOOK)

    def receive(messages):
        last = Counter()
        for _ in range(messages):
            sender, number, rest = queue.receive(timeout=LOOK).body.split(b" ")
            assert len(rest) == sizes[int(number) % 5]
            assert int(number) >= last[sender]
            last[sender] = int(number) + 1

    with family() as start:
        assert all_well(
            *[start(send, sender) for sender in range(3)], *[start(receive, 1500) for _ in range(2)]
        )
    assert len(queue) == 0


class Marks:
    """What was sent and received, in memory that the processes share; a mark for each message."""

    def __init__(self, messages: int) -> None:
        self.messages = messages
        self._sent, self._received = (mmap.mmap(-1, messages) for _ in range(2))
        self.steps = Atomic()

    def send(self, queue, number, body):
        self._sent[number] = 1
        try:
            queue.send_nowait(body)
        except QueueFull:
            self._sent[number] = 0
            return
        self._sent[number] = 2

    def receive(self, queue):
        with queue.lease(0) as job:
            number = whole(job.body)
            assert self._received[number] < 2, "an acknowledged message came again"
            self._received[number] = 1
        self._received[number] = 2
        return number

    def step(self):
        self.steps.add()
        self.steps.wake()

    def wait_for(self, steps):
        enough = self.steps.get() + steps
        while (now := self.steps.get()) < enough:
            assert self.steps.wait(now, LOOK)

    def lost(self, left):
        """The messages whose send() returned, that were not received, and that are not left."""
        numbers = range(self.messages)
        return [
            n for n in numbers if self._sent[n] == 2 and not self._received[n] and n not in left
        ]

    def come_again(self, left):
        return [number for number in left if self._received[number] == 2]


def body_of(number, size):
    return b"%d:%d:" % (number, size) + bytes([number % 251]) * size


def whole(body):
    """The number of a message; its bytes follow from that."""
    number, size, _ = bytes(body).split(b":", 2)
    assert body == body_of(int(number), int(size))
    return int(number)


def test_h10_random_kills_lose_nothing(queue):
    """H10: 300 processes are killed while they send, lease and acknowledge; each message is whole."""
    kills, each, rng = 300, 2000, random.Random(3)
    marks = Marks((kills + 4) * each)

    def work(process):
        sizes = random.Random(process)
        for number in itertools.count(process * each):
            if number < (process + 1) * each:
                marks.send(queue, number, body_of(number, sizes.choice([1, 100, 300, 3 * PAGE])))
            try:
                marks.receive(queue)
            except QueueEmpty:
                pass
            marks.step()

    with family() as start:
        workers = [start(work, process) for process in range(4)]
        for kill in range(kills):
            marks.wait_for(rng.randrange(1, 20))
            place = rng.randrange(4)
            assert workers[place].kill() == -signal.SIGKILL
            workers[place] = start(work, 4 + kill)
        for worker in workers:
            assert worker.kill() == -signal.SIGKILL
    left = []
    with pytest.raises(QueueEmpty):
        while True:
            left.append(whole(queue.receive_nowait().body))
    assert len(left) == len(set(left))
    assert marks.lost({*left}) == [] and marks.come_again(left) == []
    assert queue.statistics().free_bytes == queue.max_bytes


def test_h11_a_stopped_process_keeps_what_it_has(queue, pipe):
    """H11: and holds up no other; when it goes on it can acknowledge."""
    queue.send_many([b"a" * 500, b"b"])

    def work():
        with queue.lease() as job:
            pipe.tell()
            os.kill(os.getpid(), signal.SIGSTOP)
            assert job.body == b"a" * 500

    with family() as start:
        stopped = start(work)
        pipe.hear()
        assert os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
        assert queue.receive(timeout=LOOK).body == b"b"
        with pytest.raises(QueueEmpty):
            queue.receive(timeout=0.2)
        queue.send(b"c" * 500)
        assert queue.receive(timeout=LOOK).body == b"c" * 500
        assert queue.statistics().leased == 1
        os.kill(stopped.pid, signal.SIGCONT)
        assert all_well(stopped)
    assert queue.statistics().leased == 0 and len(queue) == 0


def test_h4_a_message_that_kills_its_receivers_is_dead_in_the_end():
    """H4: each of them dies of it; then it is listed, and the next message comes."""
    with SharedQueue(max_messages=4, max_bytes=PAGE, max_attempts=3) as queue:
        queue.send_many([b"poison", b"good"])

        def work():
            while True:
                with queue.lease(timeout=LOOK) as job:
                    if job.body == b"poison":
                        os.kill(os.getpid(), signal.SIGKILL)
                    return

        with family() as start:
            assert [start(work).join() for _ in range(3)] == [-signal.SIGKILL] * 3
            assert start(work).join() == 0
        assert [(dead.body, dead.attempts) for dead in queue.dead] == [(b"poison", 3)]
        assert len(queue) == 0 and queue.verify() == []

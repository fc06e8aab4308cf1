"""The fan-out: told in order, to all who are there, also when its task worker is killed."""

from __future__ import annotations

import os
import signal

from example_programs import Example, serve  # noqa: F401, TC002  (a fixture)
from gathering import Gathering, gather  # noqa: F401  (a fixture)
from watching import stopped, until

from ipckit import Client

FOLLOWERS = 240


class Newsroom(Gathering):
    """The fan-out: a publisher, and followers of his topic, the oldest first.

    Most of them are on one worker (`other`). The publisher and the last follower are not.
    """

    def __init__(self, server: Example) -> None:
        super().__init__(server)
        self.clients: list[Client] = []
        self.told: list[str] = []  # to the publisher
        self.followers = [self.connect() for _ in range(FOLLOWERS - 1)]
        self.other = max((0, 1), key=self.workers_of_sessions().count)
        self.publisher = self.connect_beside()
        self.followers.append(self.connect_beside())
        self.publisher.send(b"unsub news\n")
        assert self.publisher.recv() == b"* you follow nothing\n"

    def connect(self) -> Client:
        """One more follower; answered, so the sessions are in the order of these calls."""
        made = self.server.client()
        self.clients.append(made)
        made.send(b"sub news\n")
        assert made.recv() == b"* you follow news\n"
        return made

    def connect_beside(self) -> Client:
        """Connect to the worker that has fewer of them."""
        made = self.connect()
        while self.workers_of_sessions()[-1] == self.other:
            made.send(b"unsub news\n")
            assert made.recv() == b"* you follow nothing\n"
            made = self.connect()
        return made

    def close(self) -> None:
        for client in self.clients:
            client.close()

    def publish(self, line: str) -> str:
        """Post it; return its number, as "#1"."""
        self.publisher.send(f"pub news {line}\n".encode())
        while not self._hear().endswith(" is posted"):
            pass
        return self.told[-1].split()[1]

    def progress(self, number: str) -> list[str]:
        """What the publisher hears about that task, from its first batch to its end."""
        while not any(line.startswith(f"* {number} is done: ") for line in self.told):
            self._hear()
        begin = f"* {number}"
        about = [line for line in self.told if line.startswith((f"{begin} ", f"{begin}: "))]
        return [line.removeprefix(begin).lstrip(": ") for line in about][1:]

    def _hear(self) -> str:
        self.told.append(self.publisher.recv().decode().strip())
        assert self.told[-1], "the end of the connection"
        return self.told[-1]

    def blocked_task_worker(self) -> int:
        """The pid of the one that has been at a task for a while: it waits for a stopped worker."""
        busy = until(
            lambda: [one.pid for one in self.workers()[2:] if (one.since or 0) > 0.3], bool
        )
        return busy[0]


def heard(follower: Client, last: str) -> list[str]:
    """What it hears, to the line with the number `last`; the numbers alone."""
    numbers: list[str] = []
    while numbers[-1:] != [last]:
        line = follower.recv().decode()
        assert line, "the end of the connection"
        numbers.append(line.split()[0])
    return numbers


def test_a_fan_out_is_told_in_order_and_who_is_gone_is_left_out(gather):
    room = gather("fan_out.py", Newsroom)
    steps = [*range(50, FOLLOWERS, 50), FOLLOWERS]
    told = [f"{sent} sent, 0 gone" for sent in steps]
    numbers = [room.publish(f"line {number}") for number in range(3)]
    for number in numbers:
        assert room.progress(number) == [*told, f"is done: {told[-1]}"]
    for one in room.followers:
        assert heard(one, numbers[-1]) == numbers
    leaver = room.followers.pop()
    with stopped(room.workers()[room.other].pid):
        number = room.publish("x" * 2000)
        room.blocked_task_worker()
        count = len(room.workers_of_sessions())
        leaver.close()
        until(room.workers_of_sessions, lambda left: len(left) == count - 1)
    assert room.progress(number)[-1] == f"is done: {FOLLOWERS - 1} sent, 1 gone"
    for one in room.followers:
        assert heard(one, number) == [number]
    room.reload()
    number = room.publish("still there?")
    for one in room.followers:
        assert heard(one, number) == [number]


def test_a_fan_out_goes_on_when_its_task_worker_is_killed(gather):
    """kill -9 in the middle: nobody is left out, and one batch at most hears it twice."""
    room = gather("fan_out.py", Newsroom)
    with stopped(room.workers()[room.other].pid):
        first = room.publish("x" * 1000)
        os.kill(room.blocked_task_worker(), signal.SIGKILL)
        until(room.workers, lambda all_: [one.restarts for one in all_[2:]].count(1) == 1)
    *lines, end = room.progress(first)
    assert end == f"is done: {FOLLOWERS} sent, 0 gone"
    (again,) = [line for line in lines if line.startswith("goes on after ")]
    before = int(again.split()[3])
    assert 0 < before < FOLLOWERS and before % 50 == 0
    last = room.publish("the end")
    room.progress(last)
    times = [heard(one, last).count(first) for one in room.followers]
    assert set(times) <= {1, 2}
    twice = {at for at, count in enumerate(times) if count == 2}  # none: it had sent whole batches
    assert twice <= set(range(before, before + 50))

"""The chat and the fan-out: through a reload, kills in mid-conversation, slow readers, stuck workers.

People are clients of ours, and one is socat.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading

import pytest
from example_programs import LOOK, Example, run, serve  # noqa: F401  (a fixture)
from watching import all_are_copied, stopped, until

from ipckit import Client, PeerGone
from ipckit.server.monitoring.live_view import Watched, WorkerSnapshot

FOLLOWERS = 240


class Person:
    """One who is in the chat, by a client of ours; `hear` returns "" at the end."""

    def __init__(self, server: Example, name: str, room: str = "") -> None:
        self.name = name
        self.heard: list[str] = []
        self.said = 0
        self.at_end = False  # of talk()
        self._begin(server)
        self.ask(f"/name {name}", f"* hello {name}")
        if room:
            self.ask(f"/join {room}", f"* {name} has joined {room}")

    def _begin(self, server: Example) -> None:
        self.client = server.client()

    def say(self, line: str) -> None:
        self.client.send(line.encode() + b"\n")

    def hear(self) -> str:
        try:
            return self.client.recv().decode().rstrip("\n")
        except PeerGone:
            return ""

    def ask(self, line: str, answer: str) -> None:
        self.say(line)
        self.expect(answer)

    def expect(self, *lines: str) -> None:
        assert [self.hear() for _ in lines] == list(lines)

    def talk(self, people: list[Person], speakers: list[str], over: threading.Event) -> None:
        """Speak if one of the speakers, and write down what is heard, until all have ended.

        No speaker is more than 20 lines ahead of anybody.
        """
        waiting = set(speakers)
        try:
            if self.name in speakers:
                self._speak()
            while waiting and (line := self.hear()):
                self.heard.append(line)
                name, _, words = line.partition(": ")
                if words == "end":
                    waiting.discard(name)
                elif line.endswith(" was lost"):
                    waiting.discard(line.split()[1])
                elif name == self.name:
                    until(
                        lambda: min(len(one.heard) for one in people if not one.at_end),
                        lambda least: least > len(self.heard) - 20,
                    )
                    if over.is_set():
                        self.say("end")
                    else:
                        self._speak()
        except PeerGone:
            pass  # on saying something: still_here() will tell
        finally:
            self.at_end = True

    def _speak(self) -> None:
        self.say(f"{self.said}")
        self.said += 1

    def hear_to(self, line: str) -> bool:
        """Hear that line, write down what comes before it; False: the end came first."""
        while (heard := self.hear()) not in ("", line):
            self.heard.append(heard)
        return heard == line

    def still_here(self) -> bool:
        """Read to the last line there is; False: it was disconnected."""
        mark = f"{self.name} to {self.name}: still here"
        try:
            self.say(f"/to {self.name} still here")
        except PeerGone:
            return False
        return self.hear_to(mark) and self.hear() == mark

    def heard_of(self, name: str) -> list[int]:
        """The numbers in the lines of a speaker, as they came."""
        lines = (line.partition(": ") for line in self.heard)
        return [int(words) for who, _, words in lines if who == name and words != "end"]

    def close(self) -> None:
        self.client.close()


class OnSocat(Person):
    """The same by socat, a program of others."""

    def _begin(self, server: Example) -> None:
        self.process = subprocess.Popen(
            ["socat", "-", f"TCP:127.0.0.1:{server.port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._rest = b""

    def say(self, line: str) -> None:
        try:
            self.process.stdin.write(line.encode() + b"\n")
        except BrokenPipeError:
            raise PeerGone("socat has ended") from None

    def hear(self) -> str:
        while b"\n" not in self._rest:
            assert select.select([self.process.stdout], [], [], LOOK)[0], "nothing is heard"
            more = self.process.stdout.read(65536)
            if not more:
                return ""
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(LOOK)
        self.process.stdout.close()


class Gathering:
    """An example that serves, and the people there."""

    def __init__(self, server: Example) -> None:
        self.server = server
        self.people: list[Person] = []

    def come(self, name: str, room: str = "hall", kind: type[Person] = Person) -> Person:
        """One more person joins; those who are in the room hear of it."""
        self.people.append(kind(self.server, name, room))
        for other in self.people[:-1]:
            other.expect(f"* {name} has joined {room}")
        return self.people[-1]

    def workers(self) -> list[WorkerSnapshot]:
        with Watched(self.server.process.pid) as watched:
            return watched.snapshot().workers

    def workers_of_sessions(self) -> list[int]:
        """Which worker has each of the connections, the oldest first."""
        told = run(sys.executable, "-m", "ipckit", "connections", "--json", "--count", "1000")
        return [one["worker_id"] for one in json.loads(told)["connections"]]

    def kill(self, worker_id: int) -> None:
        """kill -9, and wait for the successor."""
        pid = self.workers()[worker_id].pid
        os.kill(pid, signal.SIGKILL)
        until(
            self.workers,
            lambda all_: all_[worker_id].pid not in (0, pid) and all_[worker_id].state == "idle",
        )

    def reload(self) -> None:
        """`ipckit reload`, and wait until all the old processes have gone."""
        before = [f"/proc/{worker.pid}" for worker in self.workers()]
        run(sys.executable, "-m", "ipckit", "reload")
        until(lambda: [path for path in before if os.path.exists(path)], lambda left: not left)

    def rest(self) -> None:
        """Wait until no callback runs, and the manager has a copy of every connection."""
        until(self.workers, lambda all_: {one.state for one in all_} == {"idle"})
        until(lambda: all_are_copied(self.server.process.pid, int(self.server.port)), bool)

    def close(self) -> None:
        for person in self.people:
            person.close()


@pytest.fixture
def gather(serve, tmp_path, monkeypatch):
    """Start an example whose control socket is where `ipckit` looks."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    made: list[Gathering] = []

    def begin(name: str, kind: type[Gathering] = Gathering) -> Gathering:
        made.append(kind(serve(name)))
        return made[-1]

    yield begin
    for one in made:
        one.close()


@pytest.mark.needs_socat
def test_people_talk(gather):
    hall = gather("chat_server.py")
    ada, bob = hall.come("ada"), hall.come("bob", kind=OnSocat)
    eve = Person(hall.server, "eve")
    hall.people.append(eve)
    bob.say("hello, \x1b[31m世界\r")  # what a terminal would obey is taken out
    for one in (ada, bob):
        one.expect("bob: hello, [31m世界")
    eve.ask("hello", "! first: /join ROOM")
    eve.ask("/name ann", "! you have a name")
    eve.ask("/dance", "! /name NAME, /join ROOM, /leave, /to NAME LINE, /who, /quit")
    eve.ask("/to carl are you there?", "! there is no carl")
    eve.ask("/to bob are you there?", "eve to bob: are you there?")
    bob.expect("eve to bob: are you there?")
    eve.ask("/join garden", "* eve has joined garden")
    bob.ask("/who", "* ada bob")
    bob.ask("/join garden", "* bob has left hall")
    bob.expect("* bob has joined garden")
    ada.expect("* bob has left hall")
    eve.expect("* bob has joined garden")
    with hall.server.client() as other:
        other.send(b"hello\n/name ada\n")
        assert other.recv() == b"! first: /name NAME\n"
        assert other.recv() == b"! ada is taken\n"
    eve.ask("/quit", "")
    bob.expect("* eve has left")
    hall.people.append(Person(hall.server, "eve", "garden"))  # her name is free
    bob.expect("* eve has joined garden")
    bob.close()
    hall.people[-1].expect("* bob has left")


def conversation(hall: Gathering, speakers: list[str], event) -> None:
    """All talk; `event()` comes in the middle of it."""
    over = threading.Event()
    threads = [
        threading.Thread(target=person.talk, args=(hall.people, speakers, over))
        for person in hall.people
    ]

    def heard(count: int) -> None:
        least = [len(person.heard) + count for person in hall.people]

        def go_on() -> bool:
            pairs = zip(hall.people, threads, least, strict=True)
            return all(len(one.heard) >= most or not at.is_alive() for one, at, most in pairs)

        until(go_on, bool)

    for thread in threads:
        thread.start()
    try:
        heard(100)
        event()
        heard(100)
    finally:
        over.set()
        for thread in threads:
            thread.join(LOOK)


@pytest.mark.needs_socat
def test_a_reload_in_mid_conversation_is_not_noticed(gather):
    hall = gather("chat_server.py")
    speakers = ["ada", "bob", "carl"]
    for name in (*speakers, "dora", "eve"):
        hall.come(name, kind=OnSocat if name == "bob" else Person)
    since = {}

    def reload() -> None:
        hall.reload()
        since.update((one.name, one.said) for one in hall.people)

    conversation(hall, speakers, reload)
    for person in hall.people:
        for speaker in hall.people[:3]:
            numbers = person.heard_of(speaker.name)
            assert sorted(numbers) == list(range(speaker.said)), "all of them, and once"
            after = [number for number in numbers if number >= since[speaker.name]]
            assert after == sorted(after) and after
        assert person.still_here() and len(person.heard) > 200
    hall.people[4].ask("/who", "* ada bob carl dora eve")


@pytest.mark.needs_socat
def test_a_kill_of_a_worker_costs_only_who_was_under_way(gather):
    """kill -9 of each worker, at rest: nobody notices. In mid-conversation: who stays has missed
    no line, and hears who was lost; they come back under their names.
    """
    hall = gather("chat_server.py")
    speakers = ["ada", "bob", "carl"]
    for name in (*speakers, "dora", "eve", "fred"):
        hall.come(name, kind=OnSocat if name == "bob" else Person)
    for worker_id in (0, 1):
        hall.rest()
        hall.kill(worker_id)
        for speaker in hall.people:
            speaker.say(f"after {worker_id}")
            for person in hall.people:
                person.expect(f"{speaker.name}: after {worker_id}")
    hall.rest()
    conversation(hall, speakers, lambda: hall.kill(hall.workers_of_sessions()[0]))
    lost = [person for person in hall.people if not person.still_here()]
    for person in hall.people:
        for speaker in hall.people[:3]:
            numbers = person.heard_of(speaker.name)
            assert numbers == list(range(len(numbers))), "in order, once, from the first on"
            if person not in lost:
                assert len(numbers) >= len(speaker.heard_of(speaker.name))
                assert speaker in lost or len(numbers) == speaker.said
    for person in lost:
        hall.people.remove(person)
        person.close()
    for person in hall.people:
        told = {line for line in person.heard if line.endswith(" was lost")}
        assert {f"* {one.name} was lost" for one in lost if one.name in speakers} <= told
    back = [Person(hall.server, person.name) for person in lost]
    hall.people += back
    hall.rest()
    with_all = Person(hall.server, "guest", "hall")
    hall.people.append(with_all)
    for person in back:
        person.ask("/join hall", f"* {person.name} has joined hall")
        with_all.expect(f"* {person.name} has joined hall")
    with_all.ask("/who", "* ada bob carl dora eve fred guest")


def test_a_slow_reader_is_closed_and_the_others_hear_all(gather):
    hall = gather("chat_server.py")
    ada, bob = hall.come("ada"), hall.come("bob")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(LOOK)
        slow.connect(("127.0.0.1", int(hall.server.port)))
        slow.sendall(b"/name slow\n/join hall\n")
        for one in (ada, bob):
            one.expect("* slow has joined hall")
        for number in range(20_000):
            ada.say(f"{number} {'x' * 1900}")
            for one in (ada, bob):
                assert one.hear_to(f"ada: {number} {'x' * 1900}")
            if ada.heard:
                break
        while slow.recv(1 << 20):  # what was sent before, then the end
            pass
    for one in (ada, bob):
        assert one.still_here() and one.heard == ["* slow was lost"]
    assert "a slow reader" in hall.server.log.read_text()


def test_lines_that_a_stuck_worker_keeps_are_told_to_who_said_them(gather):
    hall = gather("chat_server.py")
    while len(set(owners := hall.workers_of_sessions())) < 2:
        hall.come(f"p{len(hall.people)}")
    ada = hall.people[0]
    at_hand = [one for one, owner in zip(hall.people, owners, strict=True) if owner == owners[0]]
    beyond = [one for one in hall.people if one not in at_hand]
    lines = []
    with stopped(hall.workers()[1 - owners[0]].pid):
        while not ada.heard:
            lines.append(f"p0: {len(lines)} {'x' * 1900}")
            assert len(lines) < 2_000, "so many long lines wait for a stopped worker"
            ada.say(lines[-1].removeprefix("p0: "))
            for one in at_hand:
                assert one.hear_to(lines[-1])
    notices = len(ada.heard) - 1
    while len(ada.heard) > notices:  # until it reads again
        notices = len(ada.heard)
        lines.append(f"p0: {len(lines)}")
        ada.say(lines[-1].removeprefix("p0: "))
        assert ada.still_here()
        ada.heard = [line for line in ada.heard if line not in lines]
    missed = sum(
        int(line.removeprefix("! ").removesuffix(" did not get that")) for line in ada.heard
    )
    for one in beyond:
        assert one.hear_to(lines[-1])
        heard = [*one.heard, lines[-1]]
        assert heard == [line for line in lines if line in set(heard)]
        missed -= len(lines) - len(heard)
    assert missed == 0, "as many as were told"


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
        while not self._on_frame().endswith(" is posted"):
            pass
        return self.told[-1].split()[1]

    def progress(self, number: str) -> list[str]:
        """What the publisher hears about that task, from its first batch to its end."""
        while not any(line.startswith(f"* {number} is done: ") for line in self.told):
            self._on_frame()
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

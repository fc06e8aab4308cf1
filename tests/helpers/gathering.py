"""People who talk to an example of the chat kind, by clients of ours or socat, and what each heard."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading

import pytest
from example_programs import LOOK, Example, run, serve  # noqa: F401  (a fixture)
from watching import all_are_copied, until

from ipckit import PeerGone
from ipckit.server.monitoring.live_view import Watched, WorkerSnapshot


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

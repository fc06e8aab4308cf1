"""What is done with a living server while a call fails: one function for each way.

Each asks, and hears every answer within ten seconds; `Asked` keeps what came instead of an answer
(a refusal, the end of the connection), which the judge (lane.py) allows or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from serving import sleeps

import ipckit
from inject.client import Closed, Line, Wrong, datagram
from inject.configurations import REQUESTS
from inject.living import USER_SLOT, WORKERS, Living
from inject.surroundings.patience import DEADLINE, MOST, Hang, Patience
from ipckit import TaskClient

TCP, TLS, UDP, UNIX = range(4)

_MORE_REQUESTS = 3
"""So often the requests for a retirement are made: one process may have been at its end already,
and its successor got the rest of them."""


class Asked:
    """The questions of one case."""

    def __init__(self, living: Living, tokens: Callable[[], int]) -> None:
        self.living = living
        self.token = tokens
        self.closed: list[str] = []
        self.refused: list[str] = []
        self.raised: list[str] = []
        self.may_give_up = False
        """Whether every attempt of a task may have failed: its letter is written."""
        self._lines: list[Line] = []

    def line(self, port: int = TCP) -> Line | None:
        """Connect; None: it was closed at once."""
        number = self.living.ports[port]
        path = str(self.living.place.socket)
        try:
            line = Line(path if port == UNIX else ("127.0.0.1", number), tls=port == TLS)
        except Closed as exc:
            self.closed.append(str(exc))
            return None
        self._lines.append(line)
        return line

    def ask(self, line: Line | None, verb: str, *words: object) -> tuple[Line, int] | None:
        token = self.token()
        try:
            if line is not None:
                line.ask(verb, token, *words)
                return line, token
        except Closed as exc:
            self.closed.append(str(exc))
        return None

    def hear(self, asked: tuple[Line, int] | None, *wanted: object) -> list[str]:
        """Take the answer; Wrong, when it is not `wanted`, and no refusal."""
        if asked is None:
            return []
        line, token = asked
        try:
            words = line.hear(token)
        except Closed as exc:
            self.closed.append(str(exc))
            return []
        if wanted and words == list(map(str, wanted)):
            return words
        if words[0] == "refused":
            self.refused.append(" ".join(words))
        elif words[0] == "given_up" and self.may_give_up:
            self.refused.append("given up")
        elif words[0] == "raised":
            self.raised.append(" ".join(words))
        elif wanted:
            raise Wrong(f"the answer to {token} was {words}, not {wanted}")
        return words

    def call(self, line: Line | None, verb: str, *words: object, wanted: tuple = ()) -> list[str]:
        return self.hear(self.ask(line, verb, *words), *wanted)

    def close(self) -> None:
        for line in self._lines:
            line.close()
        self._lines.clear()


def accept(asked: Asked) -> None:
    """Six clients that are connected together, an echo each, and they leave."""
    lines = [asked.line() for _ in range(6)]
    questions = [asked.ask(line, "echo") for line in lines]
    for question in questions:
        asked.hear(question, "echo")
    asked.close()


def ports(asked: Asked) -> None:
    """TLS, the unix socket, a datagram."""
    for port in (TLS, UNIX):
        line = asked.line(port)
        asked.call(line, "echo", wanted=("echo",))
    asked.close()
    address = ("127.0.0.1", asked.living.ports[UDP])
    # A datagram may be lost; the port must not be: one of three comes back.
    if not any(datagram(address, asked.token()) for _ in range(3)):
        raise Hang("three datagrams were lost")


def tasks(asked: Asked) -> None:
    """Small ones, one that is waited for, and one that sends from the task worker."""
    line = asked.line()
    for _ in range(3):
        asked.call(line, "task", "small", wanted=("done", 0))
    asked.call(line, "wait")
    question = asked.ask(line, "task", "sends")
    words = sorted(asked.hear(question)[:1] + asked.hear(question)[:1])
    if words not in (["done", "sent"], []) and not (asked.refused or asked.closed or asked.raised):
        raise Wrong(f"the answers to a task that sends were {words}")
    asked.close()


def large(asked: Asked) -> None:
    """A body and a result beside the ledger, a message that no frame has room for, a file."""
    line = asked.line()
    asked.call(line, "task", "large", wanted=("done", 300_000))
    number = asked.call(line, "who")
    if number:
        other = (int(number[0]) + 1) % WORKERS
        asked.call(line, "message", "large", other, wanted=("message", 300_000))
        asked.call(line, "message", "small", other, wanted=("message", 0))
        asked.call(line, "file")
    asked.close()


def letters(asked: Asked) -> None:
    """Tasks that fail at every attempt."""
    line = asked.line()
    asked.call(line, "task", "fails", wanted=("given_up",))
    asked.call(line, "task", "large_fails", wanted=("given_up",))
    asked.close()


def task_death(asked: Asked) -> None:
    """A task kills its process, and is run again by the next."""
    line = asked.line()
    asked.call(line, "task", "dies", wanted=("done", 0))
    asked.close()


def worker_death(asked: Asked) -> None:
    """kill -9 of a worker with idle connections, which go on in its successor."""
    living = asked.living
    living.wait(lambda: living.copies() <= living.floor, "no copies are left")
    lines = [asked.line() for _ in range(4)]
    for line in lines:
        asked.call(line, "echo", wanted=("echo",))
    (victim,) = living.processes_of(0)
    # Their answers are out; now nothing of them is under way, and the manager has its copies.
    copied = living.floor + len(lines) - len(asked.closed)
    living.wait(lambda: living.copies() >= copied, "the manager has copies")
    living.wait(lambda: sleeps(victim), "the worker is idle")
    os.kill(victim, signal.SIGKILL)
    living.wait(lambda: victim not in living.children(), "the dead process is reaped")
    for line in lines:
        asked.call(line, "echo", wanted=("echo",))
    asked.close()


def reload(asked: Asked) -> None:
    """Replace all, with connections that stay and clients that come during the reload."""
    living = asked.living
    living.look()
    lines = [asked.line() for _ in range(4)]
    for line in lines:
        asked.call(line, "echo", wanted=("echo",))
    encrypted = asked.line(TLS) if TLS in living.ports else None
    asked.call(encrypted, "echo", wanted=("echo",))
    before = living.reload_ends
    os.kill(living.pid, signal.SIGUSR1)
    asked.call(encrypted, "echo", wanted=("echo",))
    if encrypted is not None:  # TLS stays with the process that has its keys, to its end
        encrypted.close()
    asked.call(lines[0], "task", "small", wanted=("done", 0))
    asked.call(asked.line(), "echo", wanted=("echo",))
    living.wait(lambda: living.reload_ends > before or not living.alive, "the reload is over")
    for line in lines:
        asked.call(line, "echo", wanted=("echo",))
    asked.close()


def user_death(asked: Asked) -> None:
    """kill -9 of the user process, beside a client."""
    living = asked.living
    line = asked.line()
    (victim,) = living.processes_of(USER_SLOT)
    living.user_deaths += 1
    os.kill(victim, signal.SIGKILL)
    living.wait(lambda: victim not in living.children(), "the dead process is reaped")
    asked.call(line, "echo", wanted=("echo",))
    asked.close()


def retirement(asked: Asked) -> None:
    """A worker and the task worker have served their number of requests, and are replaced."""
    living = asked.living
    living.settle()
    line = asked.line()
    answer = asked.call(line, "who")
    if not answer:
        return
    victims = {int(answer[1]), *living.processes_of(WORKERS)}

    def gone() -> bool:
        return not victims & living.children()

    for _ in range(_MORE_REQUESTS):
        for _ in range(REQUESTS):
            asked.call(line, "task", "small", wanted=("done", 0))
        if asked.closed:  # it may be short of requests then
            return
        with contextlib.suppress(Hang):
            living.wait(gone, "the processes that retire are gone", 3)
            break
    living.wait(gone, "the processes that retire are gone")
    asked.call(line, "echo", wanted=("echo",))
    asked.close()


def control(asked: Asked) -> None:
    """What `ipckit status` asks."""
    (path,) = Path(asked.living.place.run).glob("control-*")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(MOST)
        patience = Patience()
        try:
            sock.connect(str(path))
            sock.sendall(b'{"command": "status"}\n')
            answer = b""
            while not answer.endswith(b"\n"):
                part = sock.recv(1 << 16)
                if not part:
                    raise Closed("control socket: end of file")
                answer += part
        except TimeoutError:
            raise Hang("the control socket does not answer") from None
        except (OSError, Closed) as exc:
            asked.closed.append(str(exc))
            return
    patience.check("an answer of the control socket")
    status = json.loads(answer)
    if "error" in status:
        asked.refused.append(status["error"])
    elif status["pid"] != asked.living.pid:
        raise Wrong(f"status was {answer[:200]!r}")


def foreign(asked: Asked) -> None:
    """Tasks of another program, by the queue."""
    queue = TaskClient(asked.living.place.settings["message_queue_key"])
    try:
        for _ in range(3):
            token = asked.token()
            asked.living.promised[token] = -1
            queue.post(str(token), timeout=DEADLINE)
    except ipckit.QueueFull:
        raise Hang("the queue was full for ten seconds") from None
    finally:
        queue.close()
    asked.living.wait(lambda: not asked.living.unfinished(), "foreign tasks are over")


WAYS = {
    way.__name__: way
    for way in (
        accept,
        ports,
        tasks,
        large,
        letters,
        task_death,
        worker_death,
        user_death,
        retirement,
        reload,
        control,
        foreign,
    )
}

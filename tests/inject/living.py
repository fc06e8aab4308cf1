"""One server under failures, forked from this process, and what is known of it by the journal.

Contract  `Living(...)` starts it; `ready()` says whether it serves or has refused; `end()` stops
          it in order and returns what it left. Nothing of it outlives `kill()`.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import re
import select
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import ipckit
from inject import app
from inject import page as notes
from inject.client import DEADLINE, Hang
from inject.page import MANAGER, NOBODY, Page
from ipckit.queue import SysvQueue
from ipckit.server.dead_letters import DeadLetters

WORKERS, TASK_WORKERS = 2, 1


@dataclass
class Place:
    """Where the servers of one lane live, one after another, and what they have in common."""

    directory: Path
    settings: dict
    certificate: str | None
    page: Page
    owed: set[int] = field(default_factory=set)
    """Tokens of tasks that wait in a ledger with a name for the next server."""

    @property
    def run(self) -> Path:
        return self.directory / "run"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def letters(self) -> Path:
        return self.directory / "letters"

    def all_settings(self) -> dict:
        return {
            "worker_num": WORKERS,
            "task_worker_num": TASK_WORKERS,
            "max_connection": 64,
            "task_queue_size": 64,
            "task_memory": 8 << 20,
            "task_retry_delays": [0],
            "task_max_attempts": 2,
            "runtime_dir": str(self.run),
            "dead_letter_path": str(self.letters),
            "log_level": "DEBUG",
            **self.settings,
        }


class Living:
    def __init__(self, place: Place) -> None:
        self.place = place
        self.page = place.page
        self.page.clear()
        self.ports: dict[int, int] = {}
        self.outcome: str | None = None  # how start() ended
        self.promised: dict[int, int] = {}  # token -> task id, -1: not known
        self.over: set[int] = set()
        self.begun: dict[int, int] = {}  # pid of a process that was ready -> its number
        self.sessions: Counter[int] = Counter()  # `close` events
        self.reloads = 0
        self.raised: list[int] = []
        self._forks: set[int] = set()
        self._queues: set[int] = set()
        self._failed_ids: set[int] = set()
        for token in place.owed:
            self.promised[token] = -1
        with open(place.log, "wb"):
            pass
        self._outcome_path = place.directory / "outcome"
        self._outcome_path.unlink(missing_ok=True)
        gc.collect()
        self.pid = os.fork()
        if self.pid == 0:
            self._serve()
        self.status: int | None = None
        self.floor = 0
        """Sockets of the manager while there are no clients."""

    def _serve(self) -> None:
        """In the child: it becomes the manager."""
        mine = os.getpid()
        outcome = "returned"
        log = os.open(self.place.log, os.O_WRONLY | os.O_APPEND)
        for fd in (1, 2):
            os.dup2(log, fd)
        os.close(log)
        self.page.role(MANAGER)
        try:
            sent = str(self.place.directory / "sent")
            server = app.make(self.page, self.place.all_settings(), self.place.certificate, sent)
            server.start()
        except ipckit.IPCError as exc:
            outcome = f"refused {type(exc).__name__}: {exc}"
        except BaseException as exc:
            outcome = f"bare {type(exc).__name__}: {exc}\n{traceback.format_exc()}"
        finally:
            self.page.role(NOBODY)
            if os.getpid() == mine:
                self._outcome_path.write_text(outcome)
            os._exit(0)

    # -- what it does ---

    def look(self) -> None:
        """Take what was noted since."""
        for note in self.page.new_notes():
            match note.what:
                case notes.READY:
                    self.ports[note.b] = note.a
                case notes.PROMISED:
                    self.promised[note.a] = note.b
                case notes.FINISHED:
                    self.over.add(note.a)
                case notes.GIVEN_UP if note.a:
                    self.over.add(note.a)
                case notes.GIVEN_UP:
                    self._failed_ids.add(note.b)
                case notes.WORKER_START:
                    self.begun[note.pid] = note.a
                case notes.CLOSE:
                    self.sessions[note.a] += 1
                case notes.RELOADED:
                    self.reloads += 1
                case notes.CALLBACK_RAISED:
                    self.raised.append(note.a)
                case notes.FORK:
                    self._forks.add(note.a)
                case notes.QUEUE:
                    self._queues.add(note.a)

    @property
    def alive(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
                with contextlib.suppress(FileNotFoundError):
                    self.outcome = self._outcome_path.read_text()
        return self.status is None

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
        """Look every two milliseconds until it is so; Hang."""
        end = time.monotonic() + seconds
        while True:
            self.look()
            if condition():
                return
            if time.monotonic() > end:
                raise Hang(f"not within {seconds:g} s: {what}")
            select.select([], [], [], 0.002)

    def ready(self) -> bool:
        """Wait until it serves, True, or has ended."""
        self.wait(lambda: len(self.ports) >= self._ports() or not self.alive, "start")
        return self.alive

    def _ports(self) -> int:
        return 4 if self.place.certificate else 1

    def children(self) -> set[int]:
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except FileNotFoundError:
            return set()
        return {int(pid) for pid in text.split()}

    def process_of(self, number: int) -> int:
        """Return the process of a worker number that was ready last."""
        self.look()
        alive = self.children()
        return [pid for pid, slot in self.begun.items() if slot == number and pid in alive][-1]

    def settle(self) -> None:
        """Wait until all processes are there, all are ready, and all tasks are over; Hang."""

        def complete() -> bool:
            alive = self.children()
            slots = sorted(self.begun[pid] for pid in alive if pid in self.begun)
            return len(alive) == len(slots) and slots == list(range(WORKERS + TASK_WORKERS))

        self.wait(lambda: not self.alive or complete(), "all processes are ready")
        self.wait(lambda: not self.alive or not self.unfinished(), "all tasks are over")

    def unfinished(self) -> set[int]:
        """Return the tokens of tasks that were promised and are not over."""
        return {
            token
            for token, task_id in self.promised.items()
            if token not in self.over and task_id not in self._failed_ids
        }

    def descriptors(self) -> int:
        """Return how many the manager has."""
        try:
            return len(os.listdir(f"/proc/{self.pid}/fd"))
        except FileNotFoundError:
            return 0

    def copies(self) -> int:
        """Return how many sockets the manager has: those of connections, beside its own few."""
        found = 0
        for one in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += os.readlink(one).startswith("socket:")
        return found

    def all_descriptors(self) -> dict[int, int]:
        """Return how many each process has, by its number; -1: the manager."""
        found = {-1: self.descriptors()}
        for number in range(WORKERS + TASK_WORKERS):
            with contextlib.suppress(FileNotFoundError, IndexError):
                found[number] = len(os.listdir(f"/proc/{self.process_of(number)}/fd"))
        return found

    def listening(self) -> set[int]:
        """Return the inodes of the sockets that clients come to."""
        ports = {f"{port:04X}" for port in self.ports.values() if port}
        found = set()
        for name, state in (("tcp", "0A"), ("udp", "07")):
            for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                words = row.split()
                if words[1].rpartition(":")[2] in ports and words[3] == state:
                    found.add(int(words[9]))
        path = str(self.place.directory / "socket")
        for row in Path("/proc/net/unix").read_text().splitlines()[1:]:
            words = row.split()
            if words[-1] == path and words[3] == "00010000":  # it listens
                found.add(int(words[6]))
        return found

    def deaf(self) -> dict[int, set[int]]:
        """Return which of those sockets a worker does not wait for, by its number."""
        wanted, found = self.listening(), {}
        for number in range(WORKERS):
            polled: set[int] = set()
            with contextlib.suppress(FileNotFoundError, IndexError):  # it has just ended
                for one in Path(f"/proc/{self.process_of(number)}/fdinfo").iterdir():
                    polled |= {int(i, 16) for i in re.findall(r" ino:([0-9a-f]+)", one.read_text())}
            if wanted - polled:
                found[number] = wanted - polled
        return found

    # -- its end ---

    def end(self) -> None:
        """SIGTERM, and wait for it; Hang."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
            self.wait(lambda: not self.alive, "the end")

    def left(self) -> list[str]:
        """Return what it left behind, in words. After its end."""
        self.look()
        found = []

        def living() -> set[int]:
            return {pid for pid in self._forks if _is_there(pid)}

        try:
            self.wait(lambda: not living(), "its processes are gone", 5)
        except Hang:
            found.append(f"processes {living()}")
        waiting = self.unfinished()
        if waiting and self.place.letters.exists():
            letters = {letter.task_id for letter in DeadLetters(str(self.place.letters))}
            waiting = {token for token in waiting if self.promised[token] not in letters}
        name = self.place.settings.get("task_ledger")
        self.place.owed = waiting if name else set()
        if waiting and not name:
            found.append(f"lost tasks {sorted(waiting)}")
        kept = {f"ledger-{name}"} if name else set()
        found += [f"queue {queue}" for queue in self._queues & _queues()]
        if self.place.run.is_dir():
            found += [f"run/{one}" for one in os.listdir(self.place.run) if one not in kept]
        if (self.place.directory / "socket").exists():
            found.append("a unix socket")
        shared = [one for one in os.listdir("/dev/shm") if name and name in one]
        if waiting and name and not shared:
            found.append(f"lost: the ledger of tasks {sorted(waiting)}")
        return found

    def kill(self) -> None:
        """kill -9 of all of it, and wait until all of it is gone."""
        self.look()
        for pid in (self.pid, *self._forks):
            if self.status is None or pid != self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.status is None:
            _, self.status = os.waitpid(self.pid, 0)
        self.wait(lambda: not any(map(_is_there, self._forks)), "what was killed is gone")

    def scrap(self) -> None:
        """Kill it, and remove what it left: the next one begins from nothing."""
        self.kill()
        place = self.place
        for directory in (place.run,):
            shutil.rmtree(directory, ignore_errors=True)
        for name in os.listdir(place.directory):
            if name.startswith(("letters", "socket")):
                os.unlink(place.directory / name)
        name = place.settings.get("task_ledger")
        for one in os.listdir("/dev/shm"):
            if name and name in one:
                os.unlink(f"/dev/shm/{one}")
        for queue in self._queues & _queues():
            SysvQueue.open_id(queue).remove()
        place.owed = set()

    def text(self) -> str:
        """Return its log, of stderr and of its file."""
        text = self.place.log.read_bytes()
        file = self.place.settings.get("log_file")
        if file and os.path.exists(file):
            text += Path(file).read_bytes()
        return text.decode(errors="replace")


def _is_there(pid: int) -> bool:
    """Whether a process lives; one that nobody has reaped is gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _queues() -> set[int]:
    rows = Path("/proc/sysvipc/msg").read_text().splitlines()[1:]
    return {int(row.split()[1]) for row in rows}


def describe(error: int) -> tuple[str, str]:
    return errno.errorcode[error], os.strerror(error)

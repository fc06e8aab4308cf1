"""One server under failures, forked from this process, and what is known of it by the journal.

Contract  `Living(...)` starts it; `ready()` says whether it serves or has refused; `end()` stops
          it in order and returns what it left. Nothing of it outlives `kill()`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import re
import resource
import select
import shutil
import signal
import sqlite3
import ssl
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ipckit
import ipckit.cli
import ipckit.server.api.loader  # here, so that no server of ours imports it
from inject import app
from inject.library import page as notes
from inject.library.page import MANAGER, NOBODY, Page
from inject.surroundings.patience import DEADLINE, Hang, Patience, watch
from ipckit.queue import SysvQueue

_END_WITH_PARENT = 1  # prctl.h: PR_SET_PDEATHSIG

WORKERS, TASK_WORKERS = 2, 1
USER_SLOT = WORKERS + TASK_WORKERS


@dataclass
class Place:
    """Where the servers of one lane live, one after another, and what they have in common."""

    directory: Path
    disk: Path
    """Where its files are."""
    settings: dict
    certificate: str | None
    page: Page
    users: str
    program: bool
    in_child: Callable[[], None] = lambda: None
    """Called in the process that is to be the manager, first."""
    owed: set[int] = field(default_factory=set)
    """Tokens of tasks that wait in a ledger with a name for the next server."""

    @property
    def run(self) -> Path:
        return self.disk / "run"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def letters(self) -> Path:
        return self.disk / "letters"

    @property
    def socket(self) -> Path:
        return self.disk / "socket"

    @property
    def slots(self) -> list[int]:
        """The numbers of all processes."""
        return [*range(USER_SLOT + bool(self.users))]

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
        self.user_deaths = 0
        self.raised: list[int] = []
        self._forks: set[int] = set()
        self._queues: set[int] = set()
        self._failed_ids: set[int] = set()
        self._listening: set[int] = set()
        self._epolls: dict[int, str] = {}  # pid -> the epoll instance that was found last
        for token in place.owed:
            self.promised[token] = -1
        for log in filter(None, (place.log, place.settings.get("log_file"))):
            with open(log, "wb"):
                pass
        self._outcome_path = place.directory / "outcome"
        self._outcome_path.unlink(missing_ok=True)
        gc.collect()
        self.pid = os.fork()
        if self.pid == 0:
            self._serve()
        self.status: int | None = None
        watch(lambda: (self.pid, *self.children()))
        self.floor = 0
        """Sockets of the manager while there are no clients."""

    def _serve(self) -> None:
        """In the child: it becomes the manager, and ends with the lane, whatever ends that."""
        mine = os.getpid()
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
        outcome = "returned"
        log = os.open(self.place.log, os.O_WRONLY | os.O_APPEND)
        for fd in (1, 2):
            os.dup2(log, fd)
        os.close(log)
        tls = app.context(self.place.certificate) if self.place.certificate else None
        self.place.in_child()
        self.page.role(MANAGER)
        try:
            outcome = self._start(tls)
        except ipckit.IPCError as exc:
            outcome = f"refused {type(exc).__name__}: {exc}"
        except BaseException as exc:
            outcome = f"bare {type(exc).__name__}: {exc}\n{traceback.format_exc()}"
        finally:
            self.page.role(NOBODY)
            gc.collect()  # a program drops its server, or ends
            if os.getpid() == mine:
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
                self._outcome_path.write_text(outcome)
            os._exit(0)

    def _start(self, tls: ssl.SSLContext | None) -> str:
        given = {
            "settings": self.place.all_settings(),
            "tls": tls,
            "sent_file": str(self.place.directory / "sent"),
            "hold": str(self.place.directory / "hold"),
            "users": self.place.users,
        }
        if not self.place.program:
            app.make(self.page, **given).start()
            return "returned"
        os.environ["INJECT_PROGRAM"] = json.dumps(given)
        code = ipckit.cli.main(["run", "inject.program:server"])
        return f"refused: `ipckit run` returned {code}" if code else "returned"

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
    def reload_ends(self) -> int:
        """How often a reload has ended; under `ipckit run` also where its callback failed."""
        failed = self.text().count("after_reload raised") if self.place.program else 0
        return self.reloads + failed

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
        """Look every four milliseconds until it is so; Hang."""
        patience = Patience(seconds)
        while True:
            self.look()
            if condition():
                return
            patience.check(what)
            select.select([], [], [], 0.004)

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

    def processes_of(self, *numbers: int) -> list[int]:
        """As process_of() of each, waiting until it is there. (proc(5) children may miss one.)"""

        def found() -> bool:
            with contextlib.suppress(IndexError):
                pids[:] = map(self.process_of, numbers)
            return bool(pids) or not self.alive

        pids: list[int] = []
        self.wait(found, f"processes {numbers} are there")
        return pids

    def settle(self) -> None:
        """Wait until all processes are there, all are ready, and all tasks are over; Hang."""

        def complete() -> bool:
            alive = self.children()
            slots = sorted(self.begun[pid] for pid in alive if pid in self.begun)
            return len(alive) == len(slots) and slots == self.place.slots

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
        for number in self.place.slots:
            with contextlib.suppress(FileNotFoundError, IndexError):
                found[number] = len(os.listdir(f"/proc/{self.process_of(number)}/fd"))
        return found

    def listening(self) -> set[int]:
        """Return the inodes of the sockets that clients come to. They stay the same for its life."""
        if len(self._listening) < len(self.ports):
            self._listening = self._find_listening()
        return self._listening

    def _find_listening(self) -> set[int]:
        ports = {f"{port:04X}" for port in self.ports.values() if port}
        found = set()
        for name, state in (("tcp", "0A"), ("udp", "07")):
            for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                words = row.split()
                if words[1].rpartition(":")[2] in ports and words[3] == state:
                    found.add(int(words[9]))
        path = str(self.place.socket)
        for row in Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]:
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
                polled = self._polled(self.process_of(number), wanted)
            if wanted - polled:
                found[number] = wanted - polled
        return found

    def _polled(self, pid: int, wanted: set[int]) -> set[int]:
        """Return inodes that a process waits for: all of them, or no fewer than `wanted`.

        The epoll instance that was found last is enough if it has those.
        """
        known = self._epolls.get(pid)
        if known:
            with contextlib.suppress(FileNotFoundError):
                if wanted <= (found := _inodes(known)):
                    return found
        folder, found = f"/proc/{pid}/fdinfo", set()
        for one in os.listdir(folder):
            if these := _inodes(f"{folder}/{one}"):
                self._epolls[pid] = f"{folder}/{one}"
                found |= these
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
            letters = self._letters()
            waiting = {token for token in waiting if self.promised[token] not in letters}
        name = self.place.settings.get("task_ledger")
        self.place.owed = waiting if name else set()
        if waiting and not name:
            found.append(f"lost tasks {sorted(waiting)}")
        kept = {f"ledger-{name}"} if name else set()
        found += [f"queue {queue}" for queue in self._queues & _queues()]
        if self.place.run.is_dir():
            found += [f"run/{one}" for one in os.listdir(self.place.run) if one not in kept]
        if self.place.socket.exists():
            found.append("a unix socket")
        shared = [one for one in os.listdir("/dev/shm") if name and name in one]
        if waiting and name and not shared:
            found.append(f"lost: the ledger of tasks {sorted(waiting)}")
        return found

    def _letters(self) -> set[int]:
        """Return the ids of the tasks that have a dead letter. (Their data is large.)"""
        with contextlib.closing(sqlite3.connect(self.place.letters)) as letters:
            if not letters.execute("select * from sqlite_master where name = 'letters'").fetchone():
                return set()
            return {task_id for (task_id,) in letters.execute("select task_id from letters")}

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
        for name in os.listdir(place.disk):
            if name.startswith(("letters", "socket")):
                os.unlink(place.disk / name)
        name = place.settings.get("task_ledger")
        for one in os.listdir("/dev/shm"):
            if name and name in one:
                os.unlink(f"/dev/shm/{one}")
        for queue in self._queues & _queues():
            SysvQueue.open_id(queue).remove()
        place.owed = set()

    def mark(self) -> list[int]:
        """Return where its log ends now."""
        return [len(part) for part in self._parts()]

    def text(self, since: Sequence[int] = (0, 0)) -> str:
        """Return its log, of stderr and of its file, since that mark."""
        parts = zip(self._parts(), since, strict=True)
        return b"".join(part[at:] for part, at in parts).decode(errors="replace")

    def _parts(self) -> list[bytes]:
        file = self.place.settings.get("log_file")
        there = file and os.path.exists(file)
        return [self.place.log.read_bytes(), Path(file).read_bytes() if there else b""]


def _is_there(pid: int) -> bool:
    """Whether a process lives; one that nobody has reaped is gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _inodes(fdinfo: str) -> set[int]:
    """Return what an epoll instance waits for, by inode: proc(5), fdinfo; none for other files."""
    with open(fdinfo, "rb") as file:
        return {int(inode, 16) for inode in re.findall(rb" ino:([0-9a-f]+)", file.read())}


def _queues() -> set[int]:
    rows = Path("/proc/sysvipc/msg").read_text().splitlines()[1:]
    return {int(row.split()[1]) for row in rows}

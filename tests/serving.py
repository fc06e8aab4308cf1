"""A running server for the system suites, and a client that asks it (see system/app.py)."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import select
import signal
import socket
import struct
import subprocess
import textwrap
import time
from pathlib import Path

import forkserver
from deadlines import LOOK, RUN

from ipckit import Client
from ipckit.server.system.process_state import is_gone

APP = Path(__file__).parent / "system" / "app.py"


SERVER = """
import asyncio, os, sys, warnings, ipckit
warnings.filterwarnings("error", category=DeprecationWarning, module=r"ipckit\\.")
warnings.filterwarnings("default", "This process .* is multi-threaded", DeprecationWarning)
server = ipckit.Server({host!r}, 0, **{{"worker_num": 1, **dict({settings})}})
server.on("start", lambda server: print(server.port, flush=True))
{callbacks}
server.start()
"""

# For a server's program: wait on its loop until somebody writes into a FIFO.
RELEASED = """
async def released(fifo):
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    loop.add_reader(fd, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
"""


def children_of(process: subprocess.Popen) -> set[int]:
    pid = process.pid
    return {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def gone(pid: int) -> bool:
    """Whether a process has ended; a parent that does not reap keeps it as a zombie."""
    return is_gone(pid)


def sleeps(pid: int) -> bool:
    """Whether a process waits for something: proc(5), stat, the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def wait_for(condition) -> None:
    """Poll until `condition()` is true; a pause of 5 ms each, by select."""
    end = time.monotonic() + LOOK
    while not condition():
        assert time.monotonic() < end, f"not within {LOOK:g} s"
        select.select([], [], [], 0.005)


def end_in_order(process: subprocess.Popen) -> None:
    """SIGTERM, if it still runs; wait until it has ended, and kill it if it does not."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(LOOK)
    finally:
        process.kill()
        process.stdout.close()


def kill_manager(process: subprocess.Popen) -> None:
    """kill -9 of the manager; wait until its children are gone as well."""
    left = children_of(process)
    process.kill()
    process.wait(LOOK)
    wait_for(lambda: all(map(gone, left)))


def kill_all(process: subprocess.Popen) -> None:
    """kill -9 of all its processes; the manager is stopped first, or it would make more."""
    process.send_signal(signal.SIGSTOP)
    for pid in children_of(process):
        os.kill(pid, signal.SIGKILL)
    kill_manager(process)


class Small:
    """A server program of a few lines."""

    def __init__(self, callbacks: str, settings: str = "", host: str = "127.0.0.1") -> None:
        code = SERVER.format(host=host, settings=settings, callbacks=textwrap.dedent(callbacks))
        # Without a buffer, so that select() knows of every line.
        self.process = forkserver.start(["-c", code], forkserver.PIPE, forkserver.PIPE, 0)
        line = self.line()
        if not line:
            self.process.kill()
            raise AssertionError(self.process.communicate(timeout=LOOK))
        self.address = (host, int(line))

    def line(self) -> bytes:
        """Return the next line that it prints; empty: none came in time."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], LOOK)
        return self.process.stdout.readline() if ready else b""

    def connect(self) -> socket.socket:
        sock = socket.create_connection(self.address, LOOK)
        sock.settimeout(LOOK)
        return sock

    def children(self) -> set[int]:
        """Return the pids of its workers and task workers."""
        return children_of(self.process)

    def wait_for(self, condition) -> None:
        wait_for(condition)

    def kill(self) -> None:
        kill_manager(self.process)

    def kill_all(self) -> None:
        kill_all(self.process)

    def end(self) -> str:
        """SIGTERM; return the log."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=LOOK)
        assert self.process.returncode == 0, err.decode()
        return (out + err).decode()


class Ask:
    """One client's connection; `ask(verb, ...)` returns the value or raises Refused."""

    def __init__(self, running: Running) -> None:
        self._client = Client(running.kind, open_length_check=True, package_max_length=64 << 20)
        self._client.connect(running.host, running.port, timeout=RUN)  # a request may be a flood

    def tell(self, *request) -> None:
        body = pickle.dumps(request)
        self._client.send(struct.pack(">I", len(body)) + body)

    def hear(self):
        packet = self._client.recv()
        if not packet:
            raise ConnectionError("the server closed the connection")
        done, *rest = pickle.loads(packet[4:])
        if not done:
            raise Refused(*rest)
        return rest[0]

    def __call__(self, *request):
        self.tell(*request)
        return self.hear()

    def close(self) -> None:
        self._client.close()


class Refused(Exception):
    """The server's answer was an exception: (class name, text)."""


class Running:
    """A server process; its journal, its clients, its end."""

    def __init__(self, tmp_path: Path, **settings) -> None:
        self.journal_path = tmp_path / f"journal-{time.monotonic_ns()}"
        self.log_path = tmp_path / "log"
        self.runtime_dir = tmp_path / "run"
        settings.setdefault("runtime_dir", str(self.runtime_dir))
        settings.setdefault("worker_num", 1)
        settings.setdefault("task_worker_num", 1)
        settings.setdefault("task_retry_delays", [0])
        self.kind = settings.get("sock_type", 1)
        self.host = settings.get("host", "127.0.0.1")
        self.port = 0
        settings["journal"] = str(self.journal_path)
        self._log = open(self.log_path, "ab")  # noqa: SIM115
        words = [str(APP), json.dumps(settings)]
        self.process = forkserver.start(words, forkserver.PIPE, self._log)
        self.pid = self.process.pid
        self._clients: list[Ask] = []
        self._entries: list[list] = []  # of the journal, as far as it was read
        self._read_to = 0
        self._told = False  # a second signal would end it immediately
        try:
            line = self._line()
        except BaseException:
            self.process.kill()
            self.process.wait(LOOK)
            self._close_files()
            raise
        self.port = int(line) if line.isdigit() else 0

    def _line(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], LOOK)
        line = self.process.stdout.readline().decode().strip() if ready else ""
        if not line:
            raise AssertionError(f"the server did not come up:\n{self.log()}")
        return line

    def client(self) -> Ask:
        self._clients.append(Ask(self))
        return self._clients[-1]

    def log(self) -> str:
        return self.log_path.read_text()

    def journal(self, word: str | None = None) -> list[list]:
        """Entries [pid, worker_id, word, ...]. What a killed process wrote a part of is none."""
        if self.journal_path.exists():
            with open(self.journal_path, "rb") as file:
                file.seek(self._read_to)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read_to += len(whole)
            for line in filter(None, whole.splitlines()):
                with contextlib.suppress(json.JSONDecodeError):
                    self._entries.append(json.loads(line))
        return [entry for entry in self._entries if word is None or entry[2] == word]

    def wait_for(self, condition, what: str):
        """Poll until `condition()` is true; a pause of 5 ms each, by select."""
        end = time.monotonic() + LOOK
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"not within {LOOK:g} s: {what}\n{self.log()[-4000:]}")
            select.select([], [], [], 0.005)

    def signal(self, number: int) -> None:
        self._told = self._told or number in (signal.SIGTERM, signal.SIGINT)
        self.process.send_signal(number)

    def end(self) -> int:
        """SIGTERM, if it still runs; return the exit code."""
        for client in self._clients:
            client.close()
        if self.process.poll() is None and not self._told:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(LOOK)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(LOOK)
            raise AssertionError(f"the server did not end:\n{self.log()[-4000:]}") from None
        finally:
            self._close_files()
        return code

    def _close_files(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


def kill_one(running, killed: set[int], *, taskworker: bool, rng: random.Random) -> None:
    """kill -9 one live process of that kind, chosen by `rng`."""

    def kill() -> bool:
        alive = {
            entry[0] for entry in running.journal("worker_start") if entry[3] == taskworker
        } - killed
        if not alive:
            return False
        victim = rng.choice(sorted(alive))
        killed.add(victim)
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    running.wait_for(kill, "there is one to kill")

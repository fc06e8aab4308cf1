"""`ipckit reload --wait`: it returns when a reload is over, with its outcome; until then the
processes that leave are in `ipckit status` and `ipckit top`.

In full (IPCKIT_SOAK=1) the request that is under way takes 20 s; else the test ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

import pytest
from command import ipckit, ipckit_json
from serving import LOOK, RELEASED, end_in_order, gone

SOAK = os.environ.get("IPCKIT_SOAK") == "1"
SECONDS = 20.0

APP = (
    """
import asyncio, os, threading
from ipckit import Server

server = Server("127.0.0.1", 0, worker_num=1, runtime_dir="run", control_path="control")
"""
    + RELEASED
    + """
@server.on("receive")
async def receive(server, fd, reactor_id, data):
    word = data.decode()
    if word != "pid":
        print("begins", flush=True)
    if word == "long":
        await asyncio.sleep(20)
    elif word == "released":
        await released("fifo")
    elif word == "block":
        threading.Event().wait(300)
    server.send(fd, str(os.getpid()).encode())

@server.on("start")
def start(server):
    print(server.port, flush=True)
"""
)


class Served:
    """`ipckit run` of APP in a folder of its own."""

    def __init__(self, folder, *settings: str) -> None:
        self.folder = folder
        self.control = folder / "control"
        self.write(APP)
        os.mkfifo(folder / "fifo")
        words = [word for setting in settings for word in ("--set", setting)]
        with open(folder / "log", "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ipckit", "run", "app:server", *words],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
            )

    def write(self, code: str) -> None:
        (self.folder / "app.py").write_text(code)

    def line(self) -> str:
        assert select.select([self.process.stdout], [], [], LOOK)[0], self.log()
        return self.process.stdout.readline().decode().strip()

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), SECONDS + LOOK)

    def pid(self) -> int:
        """Return that of the worker which serves."""
        with self.connect() as client:
            client.sendall(b"pid")
            return int(client.recv(100))

    def worker(self) -> dict:
        (worker,) = ipckit_json("status", self.control)["stats"]["workers"]
        return worker

    def leaving(self) -> list[dict]:
        """Wait for a process that leaves."""
        end = time.monotonic() + LOOK
        while not (found := self.worker()["leaving"]):
            assert time.monotonic() < end, self.log()
            select.select([], [], [], 0.02)
        return found

    def is_replaced(self, old: int) -> None:
        """Wait until the successor alone serves new connections: ten in a row.

        The manager reports a process as leaving when it sends the order to leave. Until the process
        reads the order, both accept connections.
        """
        end = time.monotonic() + LOOK
        while old in [self.pid() for _ in range(10)]:
            assert time.monotonic() < end, self.log()

    def end(self) -> None:
        end_in_order(self.process)


@pytest.fixture
def serve(tmp_path):
    with contextlib.ExitStack() as ends:

        def begin(*settings: str) -> Served:
            served = Served(tmp_path, *settings)
            ends.callback(served.end)
            served.port = int(served.line())
            return served

        yield begin


class Waiting:
    """`ipckit reload --wait`, in a process of its own."""

    def __init__(self, served: Served, *words: str) -> None:
        line = [sys.executable, "-m", "ipckit", "reload", str(served.control), "--wait", *words]
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def ends(self, code: int) -> str:
        out, _ = self.process.communicate(timeout=LOOK)
        assert self.process.returncode == code, out
        return out

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def waiting():
    made: list[Waiting] = []

    def begin(served: Served, *words: str) -> Waiting:
        made.append(Waiting(served, *words))
        return made[-1]

    yield begin
    for one in made:
        one.kill()


def test_it_returns_after_a_long_request_is_answered_and_its_process_has_left(serve, waiting):
    """F30, S63: the answer comes, then the old process leaves, then the command returns."""
    served = serve("reload_timeout=1000")
    with served.connect() as client:
        began, start = time.monotonic(), time.time()
        client.sendall(b"long" if SOAK else b"released")
        assert served.line() == "begins"
        old = served.worker()["pid"]
        wait = waiting(served)
        (leaving,) = served.leaving()
        assert leaving["pid"] == old and start <= leaving["since"] <= time.time()
        served.is_replaced(old)
        assert f"worker 0: process {old} leaves, for " in ipckit("status", served.control)
        assert f"worker 0: process {old} leaves, for " in ipckit("top", served.control, "--once")
        form = json.loads(ipckit("top", served.control, "--once", "--json"))
        assert form["workers"][0]["leaving"] == [leaving]
        late = ipckit("reload", served.control, "--wait", "--timeout", "0.3", code=1)
        assert "the reload is not over after 0.3 s, and goes on" in late
        assert f"worker 0: process {old} leaves, for " in late
        assert wait.process.poll() is None and not gone(old)
        if not SOAK:
            (served.folder / "fifo").write_text("now")
        assert client.recv(100) == str(old).encode(), "it is answered"
        took = time.monotonic() - began
    assert "reloaded: every process is new, and every old one has left" in wait.ends(0)
    assert gone(old)
    assert not SOAK or took >= SECONDS
    print(
        f"answered after {took:.2f} s, `reload --wait` returned 0 after {time.monotonic() - began:.2f} s"
    )
    # The one that was queued behind it.
    ended = json.loads(ipckit("reload", served.control, "--wait", "--json"))
    assert (ended["reload"], ended["done"], ended["ok"], ended["killed"]) == (3, True, True, [])
    assert served.worker()["leaving"] == []


@pytest.mark.parametrize(
    "code",
    [
        "open('fifo').read()\n",
        "@server.on('worker_start')\ndef begin(server, worker_id):\n    open('fifo').read()\n",
    ],
    ids=["module", "worker_start"],
)
def test_a_process_that_does_not_start_is_named(serve, code):
    """F30, S63: what a reload waits for."""
    served = serve()
    old = served.pid()
    assert served.worker()["starting"] == []
    served.write(APP + code)
    begins = time.time()
    late = ipckit("reload", served.control, "--wait", "--timeout", "0.3", code=1)
    assert "the reload is not over after 0.3 s, and goes on" in late
    (starting,) = served.worker()["starting"]
    assert f"worker 0: process {starting['pid']} starts, for " in late
    assert f"worker 0: process {starting['pid']} starts, for " in ipckit("status", served.control)
    assert begins <= starting["since"] <= time.time() and starting["pid"] != old == served.pid()
    served.write(APP)
    (served.folder / "fifo").write_text("now")
    ended = json.loads(ipckit("reload", served.control, "--wait", "--json"))
    assert ended["ok"] and served.worker()["starting"] == []


def test_a_module_that_does_not_import(serve):
    """F30, S63: not 0, with the traceback of the new process; the old one serves."""
    served = serve()
    old = served.pid()
    for code, error in (
        (APP + "def broken(:\n", "SyntaxError: invalid syntax"),
        (APP + "import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        (APP + "os.kill(os.getpid(), 9)\n", "died: signal 9 (Killed)"),
    ):
        served.write(code)
        told = ipckit("reload", served.control, "--wait", code=1)
        assert (
            "the reload failed: the old processes stay; the new one of worker 0 did not come up"
            in told
        )
        assert error in told
        assert ("Traceback" in told) == ("signal" not in error), told
        assert served.pid() == old
    served.write(APP)
    ipckit("reload", served.control, "--wait")
    assert served.pid() != old and gone(old)


def test_reloads_that_wait_behind_another_have_their_own_outcome(serve, waiting):
    """F30: the first one fails, and the one behind it takes the mended module."""
    served = serve()
    old = served.pid()
    gate = served.folder / "gate"
    os.mkfifo(gate)
    served.write(
        f"open({str(gate)!r}).read()\n{APP}def broken(:\n".replace("def broken(:", "1 / 0")
    )
    first = waiting(served)
    with open(gate, "w"):  # a process of the first reload imports it
        served.write(APP)
        second, third = waiting(served), waiting(served, "--json")
        end = time.monotonic() + LOOK
        while not (answer := queued(served)):
            assert time.monotonic() < end
    assert answer == {"started": False, "reload": 2, "done": False}
    assert "ZeroDivisionError" in first.ends(1)
    assert "reloaded: " in second.ends(0)
    assert json.loads(third.ends(0))["reload"] >= 2
    assert served.pid() != old


def queued(served: Served) -> dict | None:
    """Ask for one more; it waits behind the one that runs."""
    form = ipckit_json("reload", served.control)
    del form["server"]
    return None if form["started"] else form


def test_a_process_that_is_killed_at_the_limit_is_told(serve):
    """F30: exit code 1, and the worker's number."""
    served = serve("reload_timeout=0.2", "max_wait_time=0.2")
    with served.connect() as client:
        client.sendall(b"block")
        assert served.line() == "begins"
        told = ipckit("reload", served.control, "--wait", code=1)
    assert "an old one did not leave in time (reload_timeout, max_wait_time)" in told
    assert "was killed; the log has its stack dump: worker 0" in told
    assert "does not end: reload_timeout=0.2 s" in served.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_meanwhile(serve, waiting, number):
    served = serve("reload_timeout=1000")
    with served.connect() as client:
        client.sendall(b"released")
        assert served.line() == "begins"
        wait = waiting(served)
        served.leaving()
        served.process.send_signal(number)
        told = wait.ends(1)
    assert ("the server ended before the reload was over" in told) or (
        number == signal.SIGTERM and "the server ends, and the reload was not over" in told
    ), told
    served.process.wait(LOOK)


def test_wrong_use_and_wrong_numbers(serve):
    served = serve()
    assert "give both" in ipckit("reload", served.control, "--timeout", "3", code=2)
    assert "must be above 0" in ipckit("reload", served.control, "--timeout", "0", code=2)
    from ipckit.cli.answers import CommandFailed
    from ipckit.cli.control import _ask_at

    for wrong in (1, 0, -1, None, "1", True):
        with pytest.raises(CommandFailed, match=r"there was no reload .*; the last one is 0"):
            _ask_at(str(served.control), command="reload_outcome", reload=wrong)

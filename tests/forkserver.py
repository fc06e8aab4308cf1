"""Programs of tests, forked from a Python that has ipckit imported: an import costs 0.2 s of CPU.

Contract  `start(words, stdout, stderr)` runs `python *words`, where words are `-c CODE` or
          `FILE ARGUMENT...`, with this process's environment, directory and limits (setrlimit). It
          returns a Program, which has what tests use of subprocess.Popen.
          `run(code, timeout)` does it to the program's end, as subprocess.run does.
          The program has an `__main__`, arguments and standard streams of its own, no other
          descriptor, and ends as any does: atexit, exit code, traceback.
          Its parent is the server, not this process.
          A program is a new interpreter (subprocess.Popen) where a variable was changed that an
          interpreter or ld.so(8) reads as it starts.
          The server starts with the first program, and ends with this process.
          `children()` are the programs that have not ended, as leaks.children() gives one's own.
Source    multiprocessing's forkserver, which runs functions, imports the caller's `__main__`, and
          gives no streams.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import IO, Any

import leaks
from deadlines import LOOK

PIPE = subprocess.PIPE
_STATUS = struct.Struct("=i")
_LIMITS = [name for name in dir(resource) if name.startswith("RLIMIT_")]
_MOST = 1 << 17  # bytes of a request: the environment and the code

PRELOADED = "asyncio", "pickle", "threading", "warnings", "ipckit.server.supervision.monitor"
"""What programs import."""


class Program:
    """A program that runs, as subprocess.Popen has one."""

    def __init__(self, words: Sequence[str], stdout: Any, stderr: Any, bufsize: int = -1) -> None:
        self.args = [sys.executable, *words]
        self.returncode: int | None = None
        request = {
            "words": [*words],
            "environ": {**os.environ},
            "directory": os.getcwd(),
            "limits": {name: resource.getrlimit(getattr(resource, name)) for name in _LIMITS},
        }
        body = json.dumps(request).encode()
        if len(body) > _MOST:
            raise ValueError(f"a program and its environment of {len(body)} bytes: at most {_MOST}")
        self._status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.ExitStack() as sent:
            sent.callback(theirs.close)

            def stream(asked: Any) -> tuple[int, IO[bytes] | None]:
                if asked != PIPE:
                    return asked.fileno(), None
                reader, writer = os.pipe()
                sent.callback(os.close, writer)
                return writer, open(reader, "rb", bufsize)

            out, self.stdout = stream(stdout)
            err, self.stderr = stream(stderr)
            socket.send_fds(_server()[0], [body], [theirs.fileno(), out, err])
        answer, fds, _, _ = socket.recv_fds(self._status, _STATUS.size, 1)
        (self.pid,) = _STATUS.unpack(answer)
        (self._pidfd,) = fds
        os.set_inheritable(self._pidfd, False)

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            (self.returncode,) = _STATUS.unpack(self._status.recv(_STATUS.size))
            self._status.close()
            os.close(self._pidfd)
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float) -> tuple[bytes, bytes]:
        """Read both streams to their ends, wait for its end, and return them."""
        until = time.monotonic() + timeout
        read = {pipe: b"" for pipe in (self.stdout, self.stderr) if pipe is not None}
        open_ones = [*read]
        while open_ones:
            ready = select.select(open_ones, [], [], max(0, until - time.monotonic()))[0]
            if not ready:
                raise subprocess.TimeoutExpired(self.args, timeout)
            for pipe in ready:
                part = os.read(pipe.fileno(), 1 << 16)
                read[pipe] += part
                if not part:
                    open_ones.remove(pipe)
                    pipe.close()
        self.wait(max(0, until - time.monotonic()))
        return read.get(self.stdout, b""), read.get(self.stderr, b"")


def start(
    words: Sequence[str], stdout: Any, stderr: Any, bufsize: int = -1
) -> Program | subprocess.Popen:
    """See the head."""
    if _read_at_start() != _FORKED_WITH:
        line = [sys.executable, *words]
        return subprocess.Popen(line, stdout=stdout, stderr=stderr, bufsize=bufsize)
    return Program(words, stdout, stderr, bufsize)


def run(code: str, timeout: float) -> subprocess.CompletedProcess:
    """As subprocess.run() of `-c CODE`, with what it printed as text."""
    process = start(["-c", code], PIPE, PIPE)
    try:
        out, err = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate(timeout)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out.decode(), err.decode())


def _read_at_start() -> dict[str, str]:
    names = ("LD_", "GLIBC_", "MALLOC_", "PYTHON")
    return {name: value for name, value in os.environ.items() if name.startswith(names)}


_FORKED_WITH = _read_at_start()


def children() -> set[int]:
    """See the head."""
    return leaks.children(_server()[1].pid) if _server.cache_info().currsize else set()


def own() -> set[int]:
    """Return the server's process, if there is one."""
    return {_server()[1].pid} if _server.cache_info().currsize else set()


@functools.cache
def _server() -> tuple[socket.socket, subprocess.Popen]:
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        words = [sys.executable, __file__, str(theirs.fileno())]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])

    def end() -> None:
        mine.close()
        process.wait(LOOK)

    atexit.register(end)
    return mine, process


# -- the server ---


def _serve(requests: socket.socket) -> dict[str, Any]:
    """Fork for each request; return the request in the child."""
    running: dict[int, tuple[int, socket.socket]] = {}  # pidfd -> pid, socket for its exit code
    waiting = select.poll()
    waiting.register(requests, select.POLLIN)
    while True:
        for ready, _ in waiting.poll():
            if ready != requests.fileno():
                pid, status = running.pop(ready)
                waiting.unregister(ready)
                os.close(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with status, contextlib.suppress(BrokenPipeError):
                    status.send(_STATUS.pack(code))
                continue
            body, fds, _, _ = socket.recv_fds(requests, _MOST, 3)
            if not body:
                sys.exit()
            status = socket.socket(fileno=fds[0])
            pid = os.fork()
            if pid == 0:
                for one in (requests, status, *(its for _, its in running.values())):
                    one.detach()  # no object here closes what has its number later
                os.dup2(fds[1], 1)
                os.dup2(fds[2], 2)
                os.closerange(3, max((*running, *fds, *map(int, os.listdir("/proc/self/fd")))) + 1)
                return json.loads(body)
            os.close(fds[1])
            os.close(fds[2])
            pidfd = os.pidfd_open(pid)
            socket.send_fds(status, [_STATUS.pack(pid)], [pidfd])
            running[pidfd] = pid, status
            waiting.register(pidfd, select.POLLIN)


def _become(request: dict[str, Any]) -> tuple[CodeType, dict[str, Any]]:
    """Make this process the program of the request; return its code and its globals."""
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["directory"])
    for name, limits in request["limits"].items():
        resource.setrlimit(getattr(resource, name), limits)
    words = request["words"]
    main = sys.modules["__main__"] = ModuleType("__main__")
    if words[0] == "-c":
        sys.argv, sys.path[0] = ["-c", *words[2:]], ""
        return compile(words[1], "<string>", "exec"), main.__dict__
    sys.argv, sys.path[0] = words, str(Path(words[0]).parent)
    main.__file__ = words[0]
    return compile(Path(words[0]).read_bytes(), words[0], "exec"), main.__dict__


if __name__ == "__main__":
    for each in PRELOADED:
        importlib.import_module(each)
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        found = _serve(asked)
    exec(*_become(found))

"""What workers and task workers have in common: their place, their words, their manager.

Stands on ipckit.server.processes.runtime, ipckit._core (process/parent_death).
Owns      this process's row of the board, its signal handlers.
Fork      `Process` is made in the child, right after the fork, with all signals still blocked.
"""

from __future__ import annotations

import asyncio
import errno
import faulthandler
import logging
import os
import select
import signal
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ipckit import _pickle_codec as pickle_codec
from ipckit._core import check, lib
from ipckit._core import process as this_process
from ipckit.errors import MisuseError, QueueFull, SystemCallError
from ipckit.server.log import limited, log, log_callback_error
from ipckit.server.messaging import wire
from ipckit.server.messaging.wire import CLOSE_RESET, Head, Kind
from ipckit.server.shared.exit_codes import EXIT_BOOT_FAILED
from ipckit.server.shared.scoreboard import Phase, Row
from ipckit.server.system.poll import wait_for
from ipckit.server.system.signals import as_child, catch_term, unblock

if TYPE_CHECKING:
    from ipckit.server.connections.connection import Connection
    from ipckit.server.processes.runtime import Runtime
    from ipckit.server.processes.server_handle import ServerHandle

__all__ = [
    "CHECK_SECONDS",
    "Process",
    "report_on",
]

FILE_PROMISED = 1 << 40
"""Bytes that count as promised for a file, until its owner has found how many it has."""

ORPHAN_SECONDS = 1.0
"""For the work in hand after the manager's death; then the process kills itself."""

CHECK_SECONDS = 1.0
"""How long a process sleeps at most before it checks whether it is to end: a program may take away
its SIGTERM."""

_LASTING = (errno.EPERM, errno.ENOSYS, errno.EINVAL)
"""Refusals at the start of a process that the next one would meet too."""

_LAST_GRACE_NS = 1_500_000_000


class Process(ABC):
    """One child of the manager. `run()` returns its exit code."""

    taskworker = False
    role = "process"
    connections: dict[int, Connection]
    """Those that this process serves, by session."""

    def __init__(
        self, server: ServerHandle, runtime: Runtime, place: int, incarnation: int
    ) -> None:
        self.server = server
        self.runtime = runtime
        self.settings = runtime.settings
        self.callbacks = runtime.callbacks
        self.board = runtime.board
        self.place = place
        self.slot = place // 2
        self.incarnation = incarnation
        self.row = self.board.row(self.slot, place % 2)
        self.row[Row.PID] = os.getpid()
        self.ended_clients: dict[int, dict[str, Any]] = {}
        """What is known of those whose `close` runs."""

    # -- life ---

    @abstractmethod
    def run(self) -> int:
        """Serve until the end; return the exit code."""

    @abstractmethod
    def woken(self) -> None:
        """SIGTERM came, or a frame: look at the phase and at what the manager wants."""

    @classmethod
    def become(cls, server: ServerHandle, runtime: Runtime, place: int, incarnation: int) -> int:
        """Turn the just forked child into this process; return its exit code."""
        as_child()
        _enable_stack_dumps()
        this_process.server_process = f"{cls.role} {place}"
        try:
            if runtime.identity is not None:
                runtime.identity.assume()  # first: it clears the signal of a parent's death
            grace = 0 if cls.taskworker else _LAST_GRACE_NS
            made = lib.ipk_die_with_parent(runtime.manager_pid, grace)
            check(made, "prctl or timer_create", "so that this process ends with the manager")
        except SystemCallError as exc:
            if exc.errno not in _LASTING:
                raise
            return _boot_failed(runtime, place, "its start")
        if server._application is not None:
            unblock()  # a thread of the module keeps the mask
            try:
                server, runtime = server._application.enter(server, tell=place < 2)
            except (Exception, SystemExit):
                return _boot_failed(runtime, place, "loading its module")
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        process = cls(server, runtime, place, incarnation)
        server._process = process
        catch_term(lambda _number, _frame: process.woken())
        unblock()
        return process.run()

    def announce_ready(self) -> None:
        """Tell the manager that worker_start is done."""
        self._post_to_manager(Kind.READY)

    def boot_failed(self) -> int:
        """Tell the manager why; return the exit code. Call it in an except clause."""
        return _boot_failed(self.runtime, self.place, "worker_start")

    def _post_to_manager(self, kind: Kind, number: int = 0, body: bytes = b"") -> None:
        """Post to the manager, waiting for room: it never waits for us."""
        _post_to_manager(self.runtime, self.place, kind, number, body)

    @property
    def name(self) -> str:
        """What the log calls this process: its role and number."""
        return f"{self.role} {self.slot}"

    @property
    def asked_to_leave(self) -> bool:
        """Whether the manager wants this process to go, and the server to stay."""
        return self.row[Row.LEAVE] == self.incarnation

    @property
    def stopping(self) -> bool:
        """Whether the server ends."""
        return self.board.phase != Phase.SERVING

    # -- callbacks ---

    def count(self, word: int, by: int = 1) -> None:
        """Add to one of this process's own words."""
        self.row[word] += by

    def callback_failed(self, event: str) -> None:
        """Log and count what a callback raised. Call it in an except clause."""
        self.row[Row.CALLBACK_ERRORS] += 1
        log_callback_error(f"worker {self.slot}", event)

    # -- what server.* does from any process ---

    def send_message(self, message: Any, dst: int) -> None:
        """Post to another process; QueueFull when its inbox has no room."""
        if dst == self.slot:
            raise MisuseError(
                f"send_message(): worker {dst} is this process; call the function itself"
            )
        head = Head(Kind.MESSAGE, sender=self.slot)
        if not self.runtime.inbox_of_slot(dst).post(head, pickle_codec.dump(message, "message")):
            raise QueueFull(11, f"the inbox of worker {dst} is full: it does not read; try later")

    def exists(self, session: int) -> bool:
        """Whether the session lives."""
        return self.board.sessions.owner_of(session) >= 0

    @abstractmethod
    def post(self, place: int, head: Head, body: bytes = b"") -> None:
        """Post to another process, in order."""

    def post_waiting(self, place: int, head: Head, body: bytes) -> None:
        """Post to a worker, waiting for room. A place that nobody reads is made known."""
        inbox = self.runtime.inboxes[place]
        if not inbox.post(head, body):
            poller = select.poll()
            poller.register(inbox.writing, select.POLLOUT)
            while not inbox.post(head, body):
                wait_for(poller, 1000)
        row = self.board.row(place // 2, place % 2)
        if not row[Row.READS]:
            self.runtime.inboxes[place ^ 1].post(Head(Kind.DRAIN, sender=self.place, number=1))

    def send(self, session: int, data: bytes) -> bool:
        """Send to a session of any worker; False: there is none."""
        connection = self.connections.get(session)
        if connection is not None:
            return connection.send(data)
        return self._ask_owner(Head(Kind.SEND, ident=session), data, len(data))

    def send_file(self, session: int, path: str, offset: int, length: int) -> bool:
        """Send part of a file to a session of any worker; False: there is none."""
        connection = self.connections.get(session)
        if connection is not None:
            return connection.send_file(path, offset, length)
        body = pickle_codec.dump((path, offset, length))
        return self._ask_owner(Head(Kind.SEND_FILE, ident=session), body, FILE_PROMISED)

    def close_session(self, session: int, *, reset: bool) -> bool:
        """Close a session of any worker; False: there is none."""
        connection = self.connections.get(session)
        if connection is not None:
            return connection.end("", reset=reset)
        return self._ask_owner(Head(Kind.CLOSE, CLOSE_RESET if reset else 0, ident=session))

    def read_session(self, session: int, *, on: bool) -> bool:
        """Read what a session's client sends, or leave it; False: there is none."""
        connection = self.connections.get(session)
        if connection is not None:
            return connection.hold(on=not on)
        return self._ask_owner(Head(Kind.PAUSE, number=int(on), ident=session))

    def _ask_owner(self, head: Head, body: bytes = b"", promised: int = 0) -> bool:
        """Let the session's owner do it. What is sent is promised first: if the owner dies and has
        not written it, the connection ends with it.
        """
        sessions = self.board.sessions
        owner = sessions.owner_of(head.ident)
        if owner < 0:
            return False
        if promised:
            sessions.promise(head.ident, promised)
        head = head._replace(sender=self.slot)
        try:
            if owner == self.place:
                return self.keep_for_later(head, body)
            self.post(owner, head, body)
        except BaseException:
            if promised:
                sessions.promise(head.ident, -promised)
            raise
        return True

    def keep_for_later(self, head: Head, body: bytes) -> bool:
        """A session is ours and has not come yet; False: it ends."""
        del head, body
        return False

    @abstractmethod
    def after(
        self, seconds: float, callback: Callable[..., Any], args: tuple[Any, ...], *, every: bool
    ) -> int:
        """Set a timer; return its id."""

    @abstractmethod
    def clear_timer(self, timer: int) -> bool:
        """Drop a timer; False: there is none."""

    def control(self, kind: Kind, number: int = 0) -> None:
        """Ask the manager for a reload, a shutdown, a replacement."""
        self._post_to_manager(kind, number)


def _enable_stack_dumps() -> None:
    """On SIGABRT, the manager's last word but one: to sys.stderr, or to descriptor 2."""
    try:
        faulthandler.enable()
    except (AttributeError, RuntimeError, OSError, ValueError):  # it is None, or no file
        faulthandler.enable(2)


def _post_to_manager(runtime: Runtime, place: int, kind: Kind, number: int, body: bytes) -> None:
    while not runtime.post_to_manager(kind, place, number, body):
        time.sleep(0.001)


def _boot_failed(runtime: Runtime, place: int, what: str) -> int:
    text = traceback.format_exc()
    log.error("worker %d: %s failed\n%s", place // 2, what, text)
    body = text.encode("utf-8", "backslashreplace")[-wire.INLINE :]
    while not runtime.post_to_manager(Kind.BOOT_FAILED, place, 0, body):
        if os.getppid() != runtime.manager_pid:
            break  # nothing may end this process with the manager yet
        time.sleep(0.001)
    return EXIT_BOOT_FAILED


def report_on(loop: asyncio.AbstractEventLoop) -> None:
    """Have what a loop cannot raise to anybody logged as asyncio does, within the log's limit, and
    what the limit left out told by a timer of that loop.
    """
    limited.later = loop.call_later

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        text = str(context.get("message"))
        error = type(context.get("exception")).__qualname__
        if limited.admits(logging.ERROR, "%s (%s)", text, error, kind=f"{text} ({error})"):
            loop.default_exception_handler(context)

    loop.set_exception_handler(report)

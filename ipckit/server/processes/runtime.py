"""What all processes of one server inherit: made by the manager before the first fork.

Owns      the board, the inboxes, the task ledger, the queue of foreign tasks, the pidfd of the
          manager.
Stands on ipckit.server.shared.scoreboard, ipckit.server.messaging.inbox,
          ipckit.server.config.{settings,events}, ipckit.server.tasks.{ledger,external_queue}.
Fork      every process has all of it; `destroy()` is the manager's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ipckit._core import _ledger
from ipckit.errors import AccessDenied, AlreadyExists, QueueRemoved, SettingsError
from ipckit.kinds import TaskIPC
from ipckit.queue import Statistics, SysvQueue
from ipckit.server.config.events import Callbacks
from ipckit.server.config.identity import Identity, is_ours, resolve
from ipckit.server.config.settings import Settings
from ipckit.server.log import log
from ipckit.server.messaging.inbox import Inbox
from ipckit.server.messaging.wire import Head, Kind
from ipckit.server.ports.port import OpenPort
from ipckit.server.rundir.run_record import RunRecord
from ipckit.server.rundir.runtime_dir import LETTERS
from ipckit.server.shared.scoreboard import Scoreboard
from ipckit.server.system.acquire import Undo, hold_name, socket_pair, system_call
from ipckit.server.system.fork import open_pidfd
from ipckit.server.tasks.dead_letters import DeadLetters
from ipckit.server.tasks.external_queue import ForeignQueue
from ipckit.server.tasks.ledger import TaskLedger

__all__ = ["Runtime"]


@dataclass(slots=True)
class Progress:
    """How far a start came."""

    was_up: bool = False
    """Whether every process was ready once."""


@dataclass(slots=True)
class Runtime:
    """What the processes of one running server share."""

    settings: Settings
    callbacks: Callbacks
    ports: tuple[OpenPort, ...]
    board: Scoreboard
    inboxes: list[Inbox]  # by place; both places of a task worker have one
    manager_inbox: Inbox
    fd_store_sockets: tuple[socket.socket, socket.socket]  # of the manager, of the workers
    ledger: TaskLedger | None
    foreign: ForeignQueue | None
    record: RunRecord  # the manager's
    undo: Undo  # how all of it is removed
    progress: Progress
    user_processes: tuple[Callable[..., Any], ...] = ()
    identity: Identity | None = None  # of the children; None: ours
    manager_pid: int = field(default_factory=os.getpid)
    manager_pidfd: int = -1
    started_at: float = field(default_factory=time.time)

    @classmethod
    def make(
        cls,
        settings: Settings,
        callbacks: Callbacks,
        ports: tuple[OpenPort, ...],
        user_processes: tuple[Callable[..., Any], ...],
        record: RunRecord,
        control_path: str,
    ) -> Runtime:
        """Make everything, or raise and leave nothing but stored tasks that were there before.

        Raises AlreadyExists (another server uses the queue's key), AccessDenied, NotFound (the
        directory of `dead_letter_path`), SystemCallError with the name of the call.
        """
        identity = resolve(settings.user, settings.group)
        if settings.task_worker_num and settings.dead_letter_path is not None:
            DeadLetters(_absolute(settings.dead_letter_path)).prepare()
        with system_call("eventfd", "for the event loops of workers", "raise ulimit -n"):
            os.close(os.eventfd(0))
        workers, task_workers = settings.worker_num, settings.task_worker_num
        progress = Progress()
        with Undo() as undo:

            def inbox(*, shared: bool = False) -> Inbox:
                made = Inbox(shared=shared)
                undo.callback(made.close)
                return made

            inboxes = [inbox() for _ in range(2 * workers)]
            for _ in range(task_workers):
                # A task worker reads between two tasks only, and one that leaves reads no more: so
                # the old and the new one can share an inbox.
                inboxes += [inbox(shared=True)] * 2
            manager_inbox = inbox()
            fd_store_sockets = socket_pair(socket.SOCK_SEQPACKET, "copies of connections")
            for end in fd_store_sockets:
                undo.callback(end.close)
            manager_pidfd = open_pidfd(os.getpid())
            undo.callback(os.close, manager_pidfd)
            ledger: TaskLedger | None = None
            foreign: ForeignQueue | None = None
            if task_workers:
                ledger = TaskLedger(settings, identity)
                undo.callback(_end_ledger, ledger, progress)
                record.note_directory(ledger.spill.path, kept=ledger.name is not None)
                if settings.task_ipc_mode != TaskIPC.UNIX_SOCKET:
                    foreign = _make_foreign(settings, identity, undo, progress)
                    record.note_queue(foreign.queue, kept=bool(settings.message_queue_key))
            record.note_segments(os.getpid())
            slots = workers + task_workers + len(user_processes)
            started_at = time.time()
            about = {
                "started_at": started_at,
                "ports": [f"{port.host}:{port.port}" if port.port else port.host for port in ports],
                "worker_num": workers,
                "task_worker_num": task_workers,
                "ledger": None if ledger is None else ledger.file,
                "dead_letters": None if ledger is None else _letters_path(settings, ledger),
                "control_path": control_path,
            }
            board = Scoreboard(slots, sessions=settings.max_connection, about=about)
            return cls(
                settings,
                callbacks,
                ports,
                board,
                inboxes,
                manager_inbox,
                fd_store_sockets,
                ledger,
                foreign,
                record,
                undo.pop_all(),
                progress,
                user_processes,
                identity,
                manager_pidfd=manager_pidfd,
                started_at=started_at,
            )

    @property
    def worker_num(self) -> int:
        """How many workers."""
        return self.settings.worker_num

    @property
    def task_worker_num(self) -> int:
        """How many task workers."""
        return self.settings.task_worker_num

    @property
    def overview(self) -> _ledger.Ledger | None:
        """The task ledger, for looking only; None: tasks are off."""
        return None if self.ledger is None else self.ledger.overview

    @property
    def slots(self) -> int:
        """How many workers and task workers."""
        return self.settings.worker_num + self.settings.task_worker_num

    def inbox_of_slot(self, slot: int) -> Inbox:
        """Return the inbox that the newest ready process of a slot reads."""
        return self.inboxes[2 * slot + self.board.parity(slot)]

    def post_to_manager(self, kind: Kind, sender: int, number: int = 0, body: bytes = b"") -> bool:
        """Post a frame to the manager; False: its inbox is full."""
        return self.manager_inbox.post(Head(kind, sender=sender, number=number), body)

    def dead_letters(self) -> DeadLetters:
        """Return the dead letters; SettingsError when tasks are off."""
        ledger = self.ledger
        if ledger is None:
            raise SettingsError("dead_letters: tasks are off, task_worker_num is 0")
        return DeadLetters(
            _letters_path(self.settings, ledger),
            lambda: os.eventfd_write(ledger.wakeups[ledger.manager], 1),
        )

    def destroy(self) -> None:
        """Remove what the kernel would keep, and close the rest."""
        self.undo.close()


def _end_ledger(ledger: TaskLedger, progress: Progress) -> None:
    """Keep what holds tasks; of a server that never was up, also what it found."""
    ledger.destroy(keep=not ledger.is_empty or (ledger.taken_up and not progress.was_up))


def _letters_path(settings: Settings, ledger: TaskLedger) -> str:
    path = settings.dead_letter_path
    return os.path.join(ledger.spill.path, LETTERS) if path is None else _absolute(path)


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(os.fspath(path))


def _make_foreign(
    settings: Settings, identity: Identity | None, undo: Undo, progress: Progress
) -> ForeignQueue:
    key = settings.message_queue_key
    if key:
        guard = hold_name(f"ipckit-message-queue-{key & 0xFFFFFFFF:08x}", "/proc/self/ns/ipc")
        if guard is None:
            raise AlreadyExists(
                errno.EEXIST,
                f"a live server has message_queue_key {key:#x}: stop it, or choose another key",
            )
        undo.callback(guard.close)
    queue, found = _make_queue(key, settings.message_queue_mode, identity)
    contended = settings.task_ipc_mode == TaskIPC.QUEUE_CONTENDED
    foreign = ForeignQueue(queue, settings.task_worker_num, contended=contended)
    undo.add("the message queue", _end_queue, foreign, found, progress)
    if found is not None and found.mode != settings.message_queue_mode:
        log.warning(
            "queue %#x had mode %#o; set to message_queue_mode %#o",
            key,
            found.mode,
            settings.message_queue_mode,
        )
        queue.set(mode=settings.message_queue_mode)
    if identity is not None:
        queue.set(uid=identity.uid, gid=identity.gid)
    return foreign


def _end_queue(foreign: ForeignQueue, found: Statistics | None, progress: Progress) -> None:
    """Remove it; of a server that never was up, put back what it found, with the tasks in it."""
    if found is None or progress.was_up:
        foreign.remove()
        return
    with contextlib.suppress(QueueRemoved):
        foreign.queue.set(mode=found.mode, uid=found.uid, gid=found.gid)


def _make_queue(
    key: int, mode: int, identity: Identity | None
) -> tuple[SysvQueue, Statistics | None]:
    """Return the queue, and what it was like if it was there before."""
    if key == 0:
        return SysvQueue.create(mode=mode), None
    key = key - 2**32 if key >= 2**31 else key
    try:
        return SysvQueue.create(key, mode=mode), None
    except AlreadyExists:
        queue = SysvQueue.open(key)
    found = queue.statistics()
    if not is_ours(found.uid, identity):
        raise AccessDenied(
            errno.EACCES,
            f"the queue with message_queue_key {key:#x} belongs to user {found.uid}: choose "
            f"another key, or have it removed",
        )
    return queue, found

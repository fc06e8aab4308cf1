"""The task ledger of one server: shared memory, wake-up descriptors, and the files beside it.

The words and records are the C core's (`ipckit/_core/ledger/ledger.h`); this is what belongs around
them: how data becomes a body, where long ones go, and what an attempt that failed leaves.

Contract  made by the manager before the first fork, inherited by all; each process takes a `view`
          of its place. Nothing here waits.
Stands on ipckit._core._ledger, ipckit.server.tasks.{spill,retry_policy},
          ipckit.server.messaging.wire, eventfd(2).
Crash     of any process but the manager: what it held is settled by the manager's sweep. After
          `kill -9` of the manager the memory goes with the last process, except for a ledger with a
          name; the files stay.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import random
import time
from collections.abc import Callable
from typing import Any

from ipckit import _pickle_codec as pickle_codec
from ipckit import _plain_codec as plain_codec
from ipckit._core import _ledger
from ipckit._segments import LEDGERS
from ipckit.errors import IPCError, ProtocolError, SystemCallError
from ipckit.queue import php_format
from ipckit.server.config.identity import Identity
from ipckit.server.config.settings import Settings
from ipckit.server.log import limited
from ipckit.server.rundir.runtime_dir import LEDGER_PREFIX, runtime_directory
from ipckit.server.shared.scoreboard import Row, shared_file
from ipckit.server.system.acquire import Undo, mapped, system_call
from ipckit.server.tasks.named_ledger import claim, named_memory
from ipckit.server.tasks.retry_policy import Attempts, Failure
from ipckit.server.tasks.spill import SpillDirectory, body_name, note_name, result_name

__all__ = ["FILES", "Job", "TaskLedger", "memory_for"]

_SHARE_OF_SLABS = 8
"""One part in so many of task_memory is for bodies of 4 to 128 KiB; more of them lie in files."""

_MEMORY = "ipckit.ledger"
"""The name of its memory in /proc/PID/fd, where it has no other."""

Job = tuple[int, int, int, int, int, bytes | None, int, int]
"""A claimed task, as Ledger.claim() gives it: record, task id, attempt, source, flags, body (None:
it is in a file), size, when it began (ns). Its word is RUNNING and ours."""

FILES = _ledger.BODY_SPILLED | _ledger.RESULT_SPILLED | _ledger.NOTED
"""Flags of a record that may have files beside it."""


def memory_for(settings: Settings) -> int:
    """Return the bytes of shared memory that the ledger of a server with task workers takes."""
    return _ledger.size_of(*_shape_for(settings))


def _shape_for(settings: Settings) -> tuple[int, int, int, int, int]:
    slabs = settings.task_memory // _SHARE_OF_SLABS // _ledger.SLAB
    blocks = max((settings.task_memory - slabs * _ledger.SLAB) // _ledger.BLOCK, 1)
    workers, task_workers = settings.worker_num, settings.task_worker_num
    return settings.task_queue_size, blocks, workers, task_workers, slabs


class TaskLedger:
    """All tasks of one server."""

    def __init__(self, settings: Settings, identity: Identity | None = None) -> None:
        """Make an empty ledger, or take up the one with the name `task_ledger`.

        Raises AlreadyExists (a live server has it), SettingsError (it holds tasks and is of another
        size), SegmentCorrupt, AccessDenied, SystemCallError (no room); nothing is left then.
        """
        shape = _shape_for(settings)
        self.records = settings.task_queue_size
        self.places = 2 * (settings.worker_num + settings.task_worker_num)
        self.most_beside = settings.task_memory
        once = settings.task_delivery == "at_most_once"
        self.attempts = Attempts(
            1 if once else settings.task_max_attempts, tuple(settings.task_retry_delays)
        )
        self.name = settings.task_ledger
        form = pickle_codec if self.name is None else plain_codec
        self.dump: Callable[[Any], bytes] = form.dump
        """Makes data, or a result, a body. TypeError naming the part that cannot be one."""
        self.encode = form.ENCODE
        """For Ledger.post() and run(): makes what dump() makes; its errors are not for the user."""
        self.read: Callable[[bytes], Any] = form.load
        """The way back, for what lies inside. Raises what the data's types raise."""
        self.wakeups: list[int] = []
        parent = settings.task_tmpdir
        folder = runtime_directory(settings.runtime_dir) if parent is None else os.fspath(parent)
        self.taken_up = False
        """Whether it was there before: then it stays if this start fails."""
        with Undo() as undo:
            undo.callback(self._close_wakeups)
            with system_call("eventfd", f"{self.places + 1} of them", "raise ulimit -n"):
                for _ in range(self.places + 1):
                    self.wakeups.append(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
            if self.name is None:
                self.spill = SpillDirectory(folder, identity=identity)
                undo.add("the spill files", self.spill.destroy)
                self._memory = _nameless(_ledger.size_of(*shape))
                _ledger.lay_out(self._memory, *shape)
            else:
                self._guard = undo.enter_context(claim(self.name))
                self._memory, self.taken_up = named_memory(self.name, shape)
                self._file: tuple[int, int] | None = None
                if not self.taken_up:
                    undo.add("the task ledger", self._remove_named)
                with system_call("lstat", f"the task ledger {self.name!r}"):
                    found = os.lstat(LEDGERS.path_of(self.name))
                self._file = (found.st_dev, found.st_ino)
                self.spill = SpillDirectory(folder, f"{LEDGER_PREFIX}{self.name}", identity)
                undo.add("spill files", self.spill.close if self.taken_up else self.spill.destroy)
            self.overview = self.view(self.places)
            """The manager's view; in another process good for looking only."""
            undo.pop_all()

    @property
    def manager(self) -> int:
        """The manager's place."""
        return self.places

    @property
    def file(self) -> str:
        """How /proc/PID/fd shows its memory."""
        return f"/memfd:{_MEMORY}" if self.name is None else LEDGERS.path_of(self.name)

    @property
    def form(self) -> str:
        """In which form data is kept: "plain" with a name, "pickle" without."""
        return "pickle" if self.name is None else "plain"

    def view(self, place: int) -> _ledger.Ledger:
        """Return the ledger as the process of this place sees it."""
        return _ledger.Ledger(self._memory, place, self.wakeups)

    def silence(self, place: int) -> None:
        """Read the wake-up descriptor of a place empty: the process is going to look."""
        with contextlib.suppress(BlockingIOError, InterruptedError):  # what stays wakes it again
            os.eventfd_read(self.wakeups[place])

    # -- bodies ---

    def load(self, flags: int, task_id: int, body: bytes | None, size: int) -> Any:
        """Return the data of a task. Raises what the data's types raise, ProtocolError."""
        if body is None:
            body = self.spill.read(body_name(task_id), size)
            if body is None:
                raise ProtocolError(f"spill file {body_name(task_id)} was removed")
        return php_format.loads(body) if flags & _ledger.FOREIGN else self.read(body)

    def load_result(self, task_id: int, attempt: int, body: bytes | None, size: int) -> Any:
        """Return the result of a task. Raises as load()."""
        if body is None:
            body = self.spill.read(result_name(task_id, attempt), size)
            if body is None:
                raise ProtocolError(f"spill file {result_name(task_id, attempt)} was removed")
        return self.read(body)

    def put_result(
        self, view: _ledger.Ledger, record: int, task_id: int, attempt: int, body: bytes
    ) -> None:
        """Keep a result of any size. Raises SystemCallError: there is no room for it."""
        if not view.put_result(record, body):
            self.spill.write(result_name(task_id, attempt), body)
            view.spill_result(record, len(body))

    def remove_files(self, task_id: int, attempts: int) -> None:
        """Remove what lies beside the record of a task that is over."""
        self.spill.remove(body_name(task_id))
        for attempt in range(1, attempts + 1):
            self.spill.remove(result_name(task_id, attempt))
            self.spill.remove(note_name(task_id, attempt))

    # -- failed attempts ---

    def attempt_failed(
        self,
        view: _ledger.Ledger,
        row: memoryview,
        record: int,
        task_id: int,
        attempt: int,
        failure: Failure,
        *,
        hopeless: bool = False,
    ) -> bool:
        """Note why, and let the task be tried again, or bury it: when that was its last attempt,
        or another one would meet the same (`hopeless`).

        It is counted in `row` first, so that a reader of the result finds it counted. Returns
        whether the attempt was ours to end; False: nothing was changed.
        """
        self._note(task_id, attempt, failure)
        view.flag(record, _ledger.NOTED, 0)
        due = self.attempts.next_due(attempt, time.monotonic(), random.uniform(-1, 1))
        if hopeless:
            due = None
        row[Row.TASKS_FAILED] += 1
        row[Row.TASKS_RETRIED] += due is not None
        ours = view.bury(record) if due is None else view.retry(record, int(due * 1e9))
        if not ours:
            row[Row.TASKS_FAILED] -= 1
            row[Row.TASKS_RETRIED] -= due is not None
        return ours

    def give_up(
        self, view: _ledger.Ledger, record: int, task_id: int, attempt: int, failure: Failure
    ) -> None:
        """Bury a task whose attempt ended well, and say why its result is of no use."""
        self._note(task_id, attempt, failure)
        view.flag(record, _ledger.NOTED, 0)
        view.bury(record)

    def _note(self, task_id: int, attempt: int, failure: Failure) -> None:
        try:
            form = json.dumps(failure.to_json()).encode()  # ASCII: any text comes back
            self.spill.write(note_name(task_id, attempt), form)
        except IPCError as exc:
            limited.error("why task %d failed could not be kept: %s", task_id, exc)

    def failure_of(self, task_id: int, attempt: int, *, later: bool = False) -> Failure:
        """Return why an attempt failed, as far as it could be kept.

        `later`: the caller can ask again; SystemCallError when it cannot be read now.
        """
        try:
            form = self.spill.read(note_name(task_id, attempt))
            return Failure(**json.loads(form or b""))
        except (ProtocolError, ValueError, TypeError):  # not ours, or cut off, or spoiled
            return Failure("the reason was not kept")
        except SystemCallError as exc:
            if later:
                raise
            return Failure(f"the reason cannot be read: {exc}")

    # -- the end ---

    @property
    def is_empty(self) -> bool:
        """Whether it holds no task."""
        return bool(self.overview.totals()[0][_ledger.FREE] == self.records)

    def destroy(self, *, keep: bool = False) -> None:
        """Remove it, or leave it for the next server with its name. By the manager."""
        with Undo() as ends:
            ends.callback(self._close_wakeups)
            if self.name is not None:
                ends.callback(self._guard.close)
            if self.name is not None and keep:
                ends.add("spill files", self.spill.close)
                return
            ends.add("spill files", self.spill.destroy)
            if self.name is not None:
                ends.add("the task ledger", self._remove_named)

    def _remove_named(self) -> None:
        """Unless its name was removed and is another ledger's by now."""
        if self.name is not None:
            LEDGERS.remove(self.name, self._file)

    def _close_wakeups(self) -> None:
        while self.wakeups:
            os.close(self.wakeups.pop())


def _nameless(size: int) -> mmap.mmap:
    fd = shared_file(_MEMORY, size)
    try:
        return mapped(fd, size)
    finally:
        os.close(fd)  # the mapping has its own

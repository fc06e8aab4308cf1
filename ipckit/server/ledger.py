"""The task ledger of one server: the shared memory, its bells, and the files beside it.

The words and records are the C core's (`ipckit/_core/ipk_ledger.h`); this is what belongs around
them: how data becomes a body, where long ones go, and what an attempt that failed leaves.

Contract  made by the manager before the first fork, inherited by all; each process takes a `view`
          of its place. Nothing here waits.
Stands on ipckit._core._ledger, ipckit.server.{spill,attempts,wire}, eventfd(2).
Crash     of any process but the manager: what it held is settled by the manager's sweep. After
          `kill -9` of the manager the memory goes with the last process; the files stay.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import time
from typing import Any

from ipckit._core import _ledger
from ipckit.errors import IPCError, ProtocolError
from ipckit.queue import php_format
from ipckit.server import wire
from ipckit.server.attempts import Attempts, Failure
from ipckit.server.board import Row
from ipckit.server.log import log
from ipckit.server.settings import Settings
from ipckit.server.spill import (
    SpillDirectory,
    body_name,
    note_name,
    result_name,
    runtime_directory,
)

__all__ = ["FILES", "TaskLedger"]

FILES = _ledger.BODY_BESIDE | _ledger.RESULT_BESIDE | _ledger.NOTED
"""Flags of a record that may have files beside it."""


class TaskLedger:
    """All tasks of one server."""

    def __init__(self, settings: Settings) -> None:
        blocks = max(settings.task_memory // _ledger.BLOCK, 1)
        shape = settings.task_queue_size, blocks, settings.worker_num, settings.task_worker_num
        self.records = settings.task_queue_size
        self.places = 2 * (settings.worker_num + settings.task_worker_num)
        self.spill = SpillDirectory(
            os.fspath(settings.task_tmpdir)
            if settings.task_tmpdir is not None
            else runtime_directory(settings.runtime_dir)
        )
        self.most_beside = settings.task_memory
        once = settings.task_delivery == "at_most_once"
        self.attempts = Attempts(
            1 if once else settings.task_max_attempts, tuple(settings.task_retry_delays)
        )
        self._memory = mmap.mmap(-1, _ledger.size_of(*shape))
        _ledger.lay_out(self._memory, *shape)
        self.bells = [
            os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(self.places + 1)
        ]

        self.overview = self.view(self.places)
        """The manager's view; in another process good for looking only."""

    @property
    def manager(self) -> int:
        """The manager's place."""
        return self.places

    def view(self, place: int) -> _ledger.Ledger:
        """Return the ledger as the process of this place sees it."""
        return _ledger.Ledger(self._memory, place, self.bells)

    def silence(self, place: int) -> None:
        """Take back the rings for a place: it is going to look."""
        try:
            os.eventfd_read(self.bells[place])
        except BlockingIOError:
            pass

    # -- bodies ---

    def load(self, flags: int, task_id: int, body: bytes | None, size: int) -> Any:
        """Return the data of a task. Raises what the data's types raise, ProtocolError."""
        if body is None:
            body = self.spill.read(body_name(task_id), size)
            if body is None:
                raise ProtocolError(f"spill file {body_name(task_id)} was removed")
        return php_format.loads(body) if flags & _ledger.FOREIGN else wire.load(body)

    def load_result(self, task_id: int, attempt: int, body: bytes | None, size: int) -> Any:
        """Return the result of a task. Raises as load()."""
        if body is None:
            body = self.spill.read(result_name(task_id, attempt), size)
            if body is None:
                raise ProtocolError(f"spill file {result_name(task_id, attempt)} was removed")
        return wire.load(body)

    def put_result(
        self, view: _ledger.Ledger, record: int, task_id: int, attempt: int, body: bytes
    ) -> None:
        """Keep a result of any size. Raises SystemCallError: there is no room for it."""
        if not view.put_result(record, body):
            self.spill.write(result_name(task_id, attempt), body)
            view.result_beside(record, len(body))

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

        It is counted in `row` first, so that who hears of the end finds it counted. Returns
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

    def _note(self, task_id: int, attempt: int, failure: Failure) -> None:
        try:
            form = json.dumps(failure.to_json()).encode("utf-8", "surrogatepass")
            self.spill.write(note_name(task_id, attempt), form)
        except IPCError as exc:
            log.error("why task %d failed could not be kept: %s", task_id, exc)

    def failure_of(self, task_id: int, attempt: int) -> Failure:
        """Return why an attempt failed, as far as it could be kept."""
        try:
            form = self.spill.read(note_name(task_id, attempt))
        except ProtocolError:
            form = None
        return Failure(**json.loads(form)) if form else Failure("the reason was not kept")

    # -- the end ---

    def destroy(self) -> None:
        """Remove the files and close the bells. By the manager."""
        self.spill.destroy()
        for bell in self.bells:
            os.close(bell)

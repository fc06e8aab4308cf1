"""The calls of a Server about tasks: the part of `Server` that needs the task ledger.

Contract  `docs/reference/server.md`. Wrong use is answered before anything changes.
Stands on ipckit.server.api.process_calls, ipckit.server.tasks.{submitter,results,options},
          ipckit.server.processes.task_worker.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from ipckit._timeouts import check_timeout
from ipckit.errors import MisuseError, SettingsError
from ipckit.kinds import TaskIPC
from ipckit.server.api.arguments import check_callback
from ipckit.server.api.from_thread import in_another_thread, run_on_loop, wait_for_each
from ipckit.server.api.process_calls import ProcessCalls
from ipckit.server.config.settings import Settings
from ipckit.server.processes.task_worker import TaskWorker
from ipckit.server.tasks.dead_letters import DeadLetters
from ipckit.server.tasks.options import TaskOptions
from ipckit.server.tasks.results import Outcome
from ipckit.server.tasks.runner import CurrentTask
from ipckit.server.tasks.submitter import Submitter, timed_out

__all__ = ["TaskCalls"]

_ANY: int = -1
_NOW: float = 0


class TaskCalls(ProcessCalls):
    """The calls of a server about tasks."""

    _settings: Settings
    _tasks: Submitter | None
    """In a worker, if there are task workers."""

    def task(
        self,
        data: Any,
        dst: int = _ANY,
        callback: Callable[..., Any] | None = None,
        *,
        delay: float = _NOW,
        ordering_key: str | None = None,
        dedup_key: str | None = None,
    ) -> int:
        """Hand `data` to a task worker; return the task's id, 1 or more. Never waits.

        Args:
            data: whatever pickle takes; over 128 KiB it lies in a file of the runtime directory.
            dst: -1 the first idle task worker, 0..task_worker_num-1 that one (mode 3: any).
            callback: gets (server, task_id, result) instead of the `finish` event.
            delay: seconds before it may be begun.
            ordering_key: tasks with one key run one at a time, in the order of their ids; the
                next begins when the one before it is done or given up.
            dedup_key: while a task with this key is queued or runs, nothing is stored and that
                one's id is returned; its result goes to the worker that stored it.

        Raises:
            TypeError: data cannot be pickled; the text names the part.
            ValueError: no such dst.
            TaskQueueFull: task_queue_size tasks are queued or running, or their data fills
                task_memory, or the server stops.
            SystemCallError: data is large and its file cannot be written, e.g. errno ENOSPC.
            SettingsError: task_worker_num is 0. MisuseError: not in a worker.
            Nothing was stored in any of these cases.

        Crash: once it returned, the task survives any worker's death; it is run again when its
        task worker dies, up to task_max_attempts. If this worker dies, the result goes to the
        `finish` event of its successor, and `callback` is not called.
        """
        if (
            self._tasks is not None
            and dst is _ANY
            and callback is None
            and delay is _NOW
            and ordering_key is None
            and dedup_key is None
        ):  # the defaults themselves; equal values take the long way, and mean the same
            return self._tasks.post_plainly(data)
        submitter = self._submitter("task()")
        options = TaskOptions.checked(delay, ordering_key, dedup_key)
        check_callback(callback, optional=True)
        return submitter.post(data, self._checked_dst(dst), callback, options)

    async def task_later(
        self,
        data: Any,
        dst: int = -1,
        callback: Callable[..., Any] | None = None,
        *,
        delay: float = 0,
        ordering_key: str | None = None,
        dedup_key: str | None = None,
    ) -> int:
        """As task(), but wait for room, in order, without holding up the loop."""
        submitter = self._submitter("task_later()")
        options = TaskOptions.checked(delay, ordering_key, dedup_key)
        check_callback(callback, optional=True)
        return await submitter.post_later(data, self._checked_dst(dst), callback, options)

    async def task_async(  # the API has its own timeout: it raises TaskTimeout
        self,
        data: Any,
        timeout: float | None = None,  # noqa: ASYNC109
        dst: int = -1,
    ) -> Any:
        """Run a task and return its result; None when it gave none.

        Data, dst and errors are as task() has them, but it waits for room. Raises TaskTimeout after
        `timeout` seconds (None: no limit; the task goes on, its result is dropped), TaskFailed
        (given up after task_max_attempts). Crash: if this worker dies, the result goes to `finish`.
        """
        submitter = self._submitter("task_async()")
        dst = self._checked_dst(dst)
        check_timeout(timeout)
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        task_id = 0
        try:
            async with asyncio.timeout(timeout):
                task_id = await submitter.post_later(data, dst, result)
                return await result
        except TimeoutError:
            raise timed_out(task_id, timeout or 0) from None
        finally:
            if not result.done():
                result.cancel()
            submitter.results.abandon(task_id)

    def taskwait(self, data: Any, timeout: float = 0.5, dst: int = -1) -> Any:
        """Run a task and return its result. Blocks this worker, at most `timeout` seconds; in a
        thread that is not the loop's only that one: then it is as task_async().

        While it waits no client is served; frames of other processes are read, and their
        callbacks run after it. Raises as task_async(), and TaskQueueFull.
        """
        submitter = self._submitter("taskwait()")
        if in_another_thread():
            return run_on_loop(submitter.loop, self.task_async(data, timeout, dst))
        dst = self._checked_dst(dst)
        check_timeout(timeout)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        outcome = Outcome()
        task_id = submitter.post(data, dst, outcome)
        try:
            submitter.results.wait([outcome], deadline)
        finally:
            submitter.results.abandon(task_id)
        if not outcome.done:
            raise timed_out(task_id, timeout)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def task_wait_multi(self, tasks: Sequence[Any], timeout: float = 0.5) -> dict[int, Any]:
        """Run several tasks at once; return index -> result, without those that are late.

        A TaskFailed stands in the place of one that was given up. Blocks as taskwait().
        """
        submitter = self._submitter("task_wait_multi()")
        check_timeout(timeout)
        if isinstance(tasks, str | bytes) or not isinstance(tasks, Sequence):
            raise TypeError(f"tasks={tasks!r}: must be a sequence of data, one for each task")
        if in_another_thread():
            asked = [self.task_async(data, timeout) for data in tasks]
            return run_on_loop(submitter.loop, wait_for_each(asked))  # type: ignore[no-any-return]
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        outcomes = [Outcome() for _ in tasks]
        ids: list[int] = []
        try:
            for data, outcome in zip(tasks, outcomes, strict=True):
                ids.append(submitter.post(data, -1, outcome))
            submitter.results.wait(outcomes, deadline)
        finally:
            for task_id in ids:
                submitter.results.abandon(task_id)
        return {
            index: outcome.value if outcome.error is None else outcome.error
            for index, outcome in enumerate(outcomes)
            if outcome.done
        }

    def finish(self, result: Any) -> None:
        """Give the result of the task in hand; inside the `task` callback, once.

        Raises MisuseError the second time and elsewhere, TypeError when it cannot be pickled.
        """
        process = self._process
        if not isinstance(process, TaskWorker):
            raise MisuseError(
                "finish() belongs inside the `task` callback: call it there, in a task worker"
            )
        process.finish(result)

    @property
    def current_task(self) -> CurrentTask | None:
        """(task_id, attempt, src_worker_id, deadline) inside the `task` callback, else None."""
        return self._process.current if isinstance(self._process, TaskWorker) else None

    @property
    def dead_letters(self) -> DeadLetters:
        """The tasks that were given up; from any process of the running server."""
        return self._running("dead_letters").dead_letters()

    # -- private ---

    def _submitter(self, call: str) -> Submitter:
        submitter = self._in_worker(call).submitter
        if submitter is None:
            raise SettingsError(f"{call}: task_worker_num=0, so tasks are off; set it to 1 or more")
        return submitter

    def _checked_dst(self, dst: int) -> int:
        number = isinstance(dst, int) and not isinstance(dst, bool)
        if not number or not -1 <= dst < self._settings.task_worker_num:
            raise ValueError(
                f"dst={dst!r}: must be -1 (the first idle one) or "
                f"0..{self._settings.task_worker_num - 1}"
            )
        return -1 if self._settings.task_ipc_mode == TaskIPC.QUEUE_CONTENDED else dst

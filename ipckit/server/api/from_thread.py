"""Waiting for tasks in a thread of a worker that is not the loop's.

Contract  the loop's thread alone posts tasks and takes their ends; another thread hands it a
          coroutine and waits, so no result is missed, and clients are served while it waits.
Stands on asyncio.
Blocks    the calling thread, as long as the coroutine takes; for ever if the loop's thread waits
          for this one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any

from ipckit.errors import TaskFailed, TaskTimeout

__all__ = ["in_another_thread", "run_on_loop", "wait_for_each"]


def in_another_thread() -> bool:
    """Tell whether the caller is not the loop's thread, which is the main one of its process."""
    return threading.current_thread() is not threading.main_thread()


def run_on_loop(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine gives, or raise what it raises."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


async def wait_for_each(tasks: Sequence[Awaitable[Any]]) -> Any:
    """Return what task_wait_multi() does, of these calls of task_async()."""
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, TaskFailed | TaskTimeout):
            raise answer
    return {at: one for at, one in enumerate(answers) if not isinstance(one, TaskTimeout)}

"""Whether the manager may fork, how it does, and how a child of it ends.

Contract  nothing that was printed before the fork is printed twice; no signal meets a child before
          it has handlers of its own.
Stands on ipckit.errors, ipckit.server.log, fork(2), pthread_sigmask(3).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from ipckit.errors import MisuseError
from ipckit.server.log import limited

__all__ = ["check_may_fork", "forked", "leave"]


def forked(child: Callable[[], NoReturn]) -> int:
    """Fork; the child calls `child` with all signals blocked. Return its pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            child()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
    return pid


def leave(code: int) -> NoReturn:
    """End this process, a child, with all that it printed, and what its log left out."""
    try:
        limited.flush()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def check_may_fork() -> None:
    """Refuse start() where a fork of this process would not be safe: MisuseError."""
    if threading.current_thread() is not threading.main_thread():
        raise MisuseError(
            "start() belongs into the main thread, where signals are handled: call it there"
        )
    others = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    if others or len(os.listdir("/proc/self/task")) > 1:
        named = ", ".join(others) or "not made by Python"
        raise MisuseError(
            f"start() forks, and a process with threads cannot be forked safely; these run: "
            f"{named}. Start them in worker_start instead"
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise MisuseError("start() inside a running event loop: call it from plain code")

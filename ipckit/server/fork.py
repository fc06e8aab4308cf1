"""How the manager forks, and how a child of it ends.

Contract  nothing that was printed before the fork is printed twice; no signal meets a child before
          it has handlers of its own.
Stands on fork(2), pthread_sigmask(3).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

__all__ = ["forked", "leave"]


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
    """End this process, a child, with all that it printed."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)

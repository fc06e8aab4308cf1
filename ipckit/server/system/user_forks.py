"""The end of a process that a callback forked and that comes back from the callback.

Contract  such a process is the program's. What it was forked from goes on in its parent, so it ends
          where it would go on as a second process of the server: with all that it printed, and a
          log line. By SystemExit it ends as any other process does.
Stands on ipckit.server.system.fork, ipckit.server.log.
"""

from __future__ import annotations

import contextlib
import sys
from typing import NoReturn

from ipckit.server.log import log
from ipckit.server.system.fork import exit_child

__all__ = ["end_forked"]

_ADVICE = "end it with os._exit()"


def end_forked(event: str) -> NoReturn:
    """End this process; in an except clause: it came back by that exception."""
    error = sys.exception()
    if isinstance(error, SystemExit):
        exit_child(_exit_code(error))
    if error is None:
        log.warning(
            "a process that was forked in `%s` came back from `%s`: %s", event, event, _ADVICE
        )
        exit_child(0)
    log.error(
        "a process that was forked in `%s` came back from `%s` by an exception: %s",
        event,
        event,
        _ADVICE,
        exc_info=True,
    )
    exit_child(1)


def _exit_code(error: SystemExit) -> int:
    """Return what the interpreter would exit with."""
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{error.code}\n")
    return 1

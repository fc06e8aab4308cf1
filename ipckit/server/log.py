"""The server's log: one logger for all its processes, to stderr or a file.

Lines are whole: each is one write() to a descriptor opened for appending. A log file that was
moved away is opened anew at the next line.

Invariants
  L1  no line is lost for its text: what UTF-8 cannot encode is escaped before any handler, ours or
      the program's, sees it.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os

from ipckit._text import escape_surrogates

__all__ = ["log", "set_up"]

log = logging.getLogger("ipckit.server")


def _encodable(record: logging.LogRecord) -> bool:
    """L1. A filter of the logger that lets every record pass."""
    try:
        text = record.getMessage()
    except Exception:  # a program's own record: its handler reports it
        return True
    escaped = escape_surrogates(text)
    if escaped != text:
        record.msg, record.args = escaped, None
    return True


log.addFilter(_encodable)


class _LogFile(logging.handlers.WatchedFileHandler):
    """A process that may not look at the file (another user's, in a directory closed to it) goes
    on writing to the one that it inherited.
    """

    def reopenIfNeeded(self) -> None:  # noqa: N802  (its name in the standard library)
        with contextlib.suppress(OSError):
            super().reopenIfNeeded()


def set_up(path: str | os.PathLike[str] | None, level: int) -> logging.Handler | None:
    """Log from `level` on to the file, or to stderr; return the handler that was added.

    Nothing is added when the program has given the logger (or the root) a handler of its own and
    wants no file.
    """
    log.setLevel(level)
    if path is None:
        if log.hasHandlers():
            return None
        handler: logging.Handler = logging.StreamHandler()
    else:
        handler = _LogFile(path, encoding="utf-8", delay=False)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    log.addHandler(handler)
    return handler

"""The server's log: one logger for all its processes, to stderr or a file.

Lines are whole: each is one write() to a descriptor opened for appending. A log file that was
moved away is opened again at the next line.
Crash     kill -9 may cut a line at the end of a page of the file; the next line continues it
          (seen on Linux 6.18, ext4).

Invariants
  L1  No line is lost for its text: what UTF-8 cannot encode is escaped before any handler, ours or
      the program's, sees it.
  L2  A line that a client, a task or a callback can cause again and again goes through `limited`.
      So none of them fills a disk, or holds up a process that writes to a slow terminal.
  L3  Whatever a handler, a filter or a record factory of the program raises, at most its own line
      is lost.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, cast

from ipckit._text import escape_surrogates
from ipckit.errors import TaskTimeout
from ipckit.server.line_limit import LeftOut, LineLimit

__all__ = [
    "LimitedLog",
    "describe_exception",
    "kind_of",
    "limited",
    "log",
    "log_callback_error",
    "set_up",
    "take_down",
]

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
"""Where the code of ipckit is."""


class _Logger(logging.Logger):
    """L3."""

    def makeRecord(self, *args: Any) -> logging.LogRecord:  # noqa: N802  (logging's name)
        try:
            return super().makeRecord(*args)
        except BaseException as exc:
            _report(exc)
            name, level, path, line, text, values, info, function, _, stack = args
            return logging.LogRecord(name, level, path, line, text, values, info, function, stack)

    def handle(self, record: logging.LogRecord) -> None:
        try:
            super().handle(record)
        except BaseException as exc:
            _report(exc)


def _report(exc: BaseException) -> None:
    """Print what the program's part of logging raised, as logging.Handler.handleError() does."""
    if isinstance(exc, TaskTimeout | KeyboardInterrupt):  # of a signal, and meant for the caller
        raise exc
    if logging.raiseExceptions and sys.stderr is not None:
        with contextlib.suppress(Exception):
            traceback.print_exception(exc)


def _logger(name: str) -> logging.Logger:
    """Return the logger of this name, which the program may have asked for already."""
    found = logging.getLogger(name)
    found.__class__ = type("Logger", (_Logger, type(found)), {})
    return found


log = _logger("ipckit.server")


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


_WITH_MORE = "{}\n%s"
_LEFT_OUT = "%d more lines like this one were left out: {}"


def kind_of(text: str) -> str:
    """Return a text without its numbers: lines that differ in these alone are of one kind."""
    return re.sub(r"\d+", "N", text)


class LimitedLog:
    """Lines that may come without end: few of each kind, and how many were left out (L2).

    Of one process, and of one thread of it; a fork begins with nothing left out.
    Driver    flush_due() writes what was left out, with the next line of any kind, or
              flush() at the end. A process with an event loop gives its call_later() as `later`.
    Crash     what was left out and not yet told is not in the log; the board has counted it.
    """

    def __init__(self) -> None:
        self.later: Callable[[float, Callable[[], None]], object] | None = None
        self._limit = LineLimit()
        self._timer = False

    def forget(self) -> None:
        """In a child: the parent writes what it left out."""
        self.__init__()  # type: ignore[misc]

    def warning(self, text: str, *args: object, kind: str | None = None) -> None:
        """As log.warning(), or count it. `kind`: by default the text without its arguments."""
        self.write(logging.WARNING, text, *args, kind=kind)

    def error(self, text: str, *args: object, kind: str | None = None) -> None:
        """As log.error(), or count it."""
        self.write(logging.ERROR, text, *args, kind=kind)

    def info(self, text: str, *args: object, kind: str | None = None) -> None:
        """As log.info(), or count it."""
        self.write(logging.INFO, text, *args, kind=kind)

    def write(
        self,
        level: int,
        text: str,
        *args: object,
        kind: str | None = None,
        more: Callable[[], str] | None = None,
    ) -> None:
        """Log it with what `more` returns on the lines below, or count it."""
        if not log.isEnabledFor(level) or not self.admits(level, text, *args, kind=kind):
            return
        if more is None:
            log.log(level, text, *args)
        else:
            log.log(level, _WITH_MORE.format(text), *args, more())

    def admits(self, level: int, text: str, *args: object, kind: str | None = None) -> bool:
        """Return whether the caller is to write a line; if not, it is counted as this one."""
        self.flush_due()
        if self._limit.admits(kind or text, (level, text, args), time.monotonic()):
            return True
        self._arm()
        return False

    def next_due(self) -> float | None:
        """Return when flush_due() has a line to write, by the monotonic clock; None: never."""
        return self._limit.next_due()

    def flush_due(self) -> None:
        """Say how many were left out, where that is due."""
        if self._limit.untold:
            self._tell(self._limit.due(time.monotonic()))

    def flush(self) -> None:
        """Say how many were left out, of every kind: the process ends."""
        self._tell(self._limit.rest())

    def _arm(self) -> None:
        due = self._limit.next_due()
        if self.later is not None and not self._timer and due is not None:
            self._timer = True
            self.later(max(0.0, due - time.monotonic()) + 0.001, self._timed)

    def _timed(self) -> None:
        self._timer = False
        self.flush_due()
        self._arm()

    @staticmethod
    def _tell(left_out: list[LeftOut]) -> None:
        for lines, last in left_out:
            level, text, args = cast("tuple[int, str, tuple[object, ...]]", last)
            log.log(level, _LEFT_OUT.format(text), lines, *args)


limited = LimitedLog()
"""This process's."""

os.register_at_fork(after_in_child=limited.forget)


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


def take_down(handler: logging.Handler) -> None:
    """Undo set_up(). What it could not write until now, as on a full disk, is lost."""
    log.removeHandler(handler)
    with contextlib.suppress(OSError):
        handler.close()


def log_callback_error(where: str, event: str) -> None:
    """Log what a callback raised, or count it. Call it in an except clause.

    Errors of one type that one line of code raises are of one kind.
    """
    error = sys.exception()
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__ if error is not None else None):
        if not frame.f_code.co_filename.startswith(_OURS):  # the last place in the user's code
            place = f" in {frame.f_code.co_filename}:{line}"
    name = f"{type(error).__qualname__}{place}"
    limited.write(
        logging.ERROR,
        "%s: %s raised %s",
        where,
        event,
        name,
        kind=f"{event} raised {name}",
        more=lambda: describe_exception()[1],
    )


def describe_exception() -> tuple[str, str]:
    """Return "Type: text" and the traceback of the exception being handled.

    The traceback begins with the user's frame, not with ours.
    """
    kind, value, trace = sys.exc_info()
    if trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    error = "".join(traceback.format_exception_only(kind, value)).strip()
    return error, "".join(traceback.format_exception(kind, value, trace))

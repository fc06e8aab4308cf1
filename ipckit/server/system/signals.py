"""Signals of the server's processes: dispositions, mask and wake-up descriptor of the manager and
of its children are set here, and a child changes only what it takes for itself after that.

    manager     TERM, INT, QUIT, HUP, USR1, USR2, WINCH are caught and told to its loop. QUIT and
                HUP are left alone where the program ignores or handles them (nohup).
    children    all of these but TERM do nothing: a terminal sends them to the whole group, and the
                manager says what is to be done. TERM is the process's own.

Contract  after `ManagerSignals.restore()` dispositions and mask are as the caller of start() had
          them; where start() failed, a signal that came since then is the caller's. A child has
          the caller's mask, without the signals named above.
Stands on signal(7), pthread_sigmask(3), signalfd-free: Python's wake-up descriptor.
Invariants
  G1  No signal reaches a child before it has handlers of its own.
  G2  Nothing is ignored that was not ignored before: a program that a callback starts has the
      default dispositions.
  G3  SIGTERM for a process that a callback forks is for that process. It has the default
      disposition in place of the server's handler (a handler of the program stays), and no wake-up
      descriptor of the server. A SIGTERM that comes during the fork waits until then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ipckit.server.system.acquire import socket_pair, system_call

__all__ = [
    "STOP",
    "ManagerSignals",
    "all_blocked",
    "as_child",
    "catch_term",
    "note_term_handler",
    "unblock",
]

STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})
"""These end the server in order."""

_IF_DEFAULT = (signal.SIGQUIT, signal.SIGHUP)
_CAUGHT = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    *_IF_DEFAULT,
)

_taken: set[int] = set()
"""Those of _CAUGHT that the manager has taken over; its children inherit it."""

_mask: set[int] = set()
"""The caller's mask, in a child until unblock()."""

_ours: list[Any] = []
"""Handlers of SIGTERM that are this process's, and not the program's."""

_forking = threading.local()
"""`mask`: that of a thread that forks."""


class ManagerSignals:
    """The manager's signals, from install() to restore(). One at a time.

    Driver    Server.start() installs them before it makes what a signal could leave behind, and
              restores them when all is undone.
    """

    def __init__(self) -> None:
        """Make the wake-up descriptor. Raises SystemCallError."""
        self._wake, self._wakeup = socket_pair(socket.SOCK_STREAM, "the manager's signals")
        for end in (self._wake, self._wakeup):
            end.setblocking(False)
        self.caught: list[int] = []
        """In the order of their arrival; the loop takes them out."""
        self._before: dict[int, Any] = {}
        self._old_wakeup: int | None = None
        self._serves = False
        self._old_mask: set[int] | None = None

    def install(self) -> None:
        """Catch what is the manager's, and let it through."""
        for number in _CAUGHT:
            if number not in _IF_DEFAULT or signal.getsignal(number) == signal.SIG_DFL:
                self._set(number, self._note)
        # As PID 1 it inherits orphans, and must notice their ends.
        note_term_handler()
        init = os.getpid() == 1
        self._set(signal.SIGCHLD, self._note if init else signal.SIG_DFL)
        _taken.update(self._before)
        fd = self._wakeup.fileno()
        with system_call("set_wakeup_fd", "for the manager's signals"):
            self._old_wakeup = signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
        self._old_mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)

    def serve(self) -> None:
        """From now on the loop takes them out; what comes at the end changes nothing."""
        self._serves = True

    def restore(self) -> None:
        """Put back what was there before, and close the wake-up descriptor.

        Raises KeyboardInterrupt, or what a handler of the caller's raises: where nobody served.
        """
        if self._old_wakeup is not None:
            with contextlib.suppress(OSError, ValueError):  # that of the program may be closed
                signal.set_wakeup_fd(self._old_wakeup)
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _taken.clear()
        _ours.clear()
        if self._old_mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._old_mask)
        self._wake.close()
        self._wakeup.close()
        for number in () if self._serves else self.caught:
            signal.raise_signal(number)

    def fileno(self) -> int:
        """Return what is readable after a signal."""
        return self._wake.fileno()

    def clear(self) -> None:
        """Take back the wake-ups: the loop is going to look. Those that stay wake it once more."""
        with contextlib.suppress(OSError):
            self._wake.recv(4096)

    def _set(self, number: int, handler: Any) -> None:
        self._before[number] = signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self.caught.append(number)


@contextlib.contextmanager
def all_blocked() -> Iterator[None]:
    """Block every signal inside it (G1). A child forked there calls as_child() and unblock()."""
    global _mask
    _mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, _mask)


def as_child() -> None:
    """Give a child of the manager its dispositions; that of SIGTERM is the default."""
    signal.set_wakeup_fd(-1)
    for number in _taken:
        signal.signal(number, _nothing)
        signal.siginterrupt(number, False)  # calls of C code go on
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def catch_term(handler: Callable[[int, Any], None]) -> None:
    """Have SIGTERM handled in this process, and not in those that its callbacks fork (G3)."""
    signal.signal(signal.SIGTERM, handler)
    note_term_handler()


def note_term_handler() -> None:
    """As catch_term(), for a handler that an event loop has set just now."""
    _ours.append(signal.getsignal(signal.SIGTERM))


def unblock() -> None:
    """Let the signals through to a child, except for those that the caller of start() blocks."""
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask - set(_CAUGHT) - {signal.SIGCHLD})


def _nothing(_number: int, _frame: object) -> None:
    """G2: a real handler, so that a program that is started has the default again."""


def _before_fork() -> None:
    if _ours:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))


def _after_fork() -> None:
    mask = _forking.__dict__.pop("mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    """G3. Of a callback's fork, and before as_child() of the manager's own."""
    if _ours:
        if signal.getsignal(signal.SIGTERM) in _ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        _ours.clear()
    _after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)

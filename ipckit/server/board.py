"""The board: the words all processes of one server share, made before the first fork.

Contract  a word with one writer is read and written plainly; a word with several changes only by
          one atomic step of the C core. Nothing here blocks, and a process killed at any place
          leaves every word whole.
Layout    header words | per slot and parity one row of words; the sessions are beside it
Stands on ipckit._core (ipk_words).
Fork      the mapping is anonymous and shared: made by the manager, inherited by all, gone with
          the last of them.
"""

from __future__ import annotations

import mmap
from typing import Any

from ipckit._core import ffi, lib
from ipckit.server.sessions import Sessions
from ipckit.server.task_load import Totals

__all__ = ["Board", "Phase", "Row"]

_WORD = 8


class Phase:
    """What the server is at; the manager moves it forward, everybody reads it."""

    SERVING = 0
    STOPPING = 1  # no accepting, no new attempt is begun; task workers end theirs and leave
    FINISHING = 2  # the task workers are gone: workers run the last callbacks and leave
    ABORTING = 3  # a second signal: leave at once


class Row:
    """Words of one process's row: the process writes them, where nothing else is said."""

    PID = 0
    INCARNATION = 1  # by the manager, before the fork
    READS = 2  # by the manager: an incarnation that reads the inbox of this parity is alive
    BUSY_SINCE = 3  # ns of the monotonic clock; 0: idle
    RESTARTS = 4  # by the manager
    REQUESTS = 5
    REQUESTS_DONE = 6  # less than REQUESTS while a callback is under way
    RESPONSES = 7
    ACCEPTED = 8
    CLOSED = 9
    TASKS = 10  # attempts ended (task worker)
    TASK_NS = 11  # run time of them
    TASKS_FAILED = 12  # attempts that ended badly; of a death: by the manager
    TASKS_RETRIED = 13  # the same
    CALLBACK_ERRORS = 14
    FOREIGN_REFUSED = 15
    RESULTS_DROPPED = 16
    LEAVE = 17  # by the manager: the incarnation that shall go
    BEAT = 18  # worker_hang_timeout: when the loop turned last, ns of the monotonic clock
    FLAPPING = 19  # by the manager: until when its slot counts as flapping, ns, monotonic clock
    COUNTING = 20  # the session it is about to open or close (ipckit.server.session_counts); or 0
    COUNTED = 21  # ACCEPTED or CLOSED before that
    LAST_DEATH = 22  # by the manager, of either incarnation, in the first row: Death.as_word()
    WORDS = 32


class _Header:
    PHASE = 0
    LOADS = 2  # how many samples of the tasks' totals were taken, by the manager
    LOAD = 3  # the last two of them, of 4 words each
    WORDS = 16


class Board:
    """Shared words of `slots` processes and `sessions` connections.

    Process safe. The mapping ends with the object, in each process for itself.
    """

    def __init__(self, slots: int, sessions: int) -> None:
        self.slots = slots
        self.sessions = Sessions(sessions)
        self._row0 = _Header.WORDS
        words = self._row0 + slots * 2 * Row.WORDS
        self._map = mmap.mmap(-1, words * _WORD)
        self._words = memoryview(self._map).cast("Q")
        self._buffer = ffi.from_buffer("uint64_t[]", self._map)
        self._base = ffi.cast("uint64_t *", self._buffer)

    # -- header ---

    @property
    def phase(self) -> int:
        """What the server is at, a `Phase`."""
        return self._words[_Header.PHASE]

    def set_phase(self, phase: int) -> None:
        """By the manager alone."""
        lib.ipk_word_store(self._base + _Header.PHASE, phase)

    # -- samples of the tasks' totals ---

    def sample_load(self, totals: Totals) -> None:
        """By the manager alone."""
        loads = self._words[_Header.LOADS]
        self._words[_Header.LOADS] = loads + 1  # first: nobody begins to read what is written over
        start = _Header.LOAD + loads % 2 * 4
        for word, value in enumerate(totals):
            self._words[start + word] = int(value * 1e9) if isinstance(value, float) else value

    def load_before(self) -> Totals:
        """Return the last sample but one, or the only one."""
        while True:
            loads = self._words[_Header.LOADS]
            start = _Header.LOAD + (loads % 2 * 4 if loads > 1 else 0)
            at, arrived, ended, ns = self._words[start : start + 4]
            if loads == self._words[_Header.LOADS]:
                return Totals(at / 1e9, arrived, ended, ns / 1e9)

    # -- rows ---

    def row(self, slot: int, parity: int) -> memoryview:
        """Return the words of one process, writable."""
        start = self._row0 + (slot * 2 + parity) * Row.WORDS
        return self._words[start : start + Row.WORDS]

    def words_of(self, place: int) -> Any:
        """Return the words of the process at a place, for the C core: a uint64_t *."""
        return self._base + self._row0 + place * Row.WORDS

    def total(self, word: int, slots: range | None = None) -> int:
        """Return the sum of one word over the rows of `slots` (all)."""
        if slots is None:
            slots = range(self.slots)
        first = self._base + self._row0 + 2 * slots.start * Row.WORDS + word
        return int(lib.ipk_word_sum(first, 2 * len(slots), Row.WORDS))

    def parity(self, slot: int) -> int:
        """Return which of its two rows and inboxes the newest ready process of `slot` uses."""
        zero = self._row0 + slot * 2 * Row.WORDS + Row.INCARNATION
        return 1 if self._words[zero + Row.WORDS] > self._words[zero] else 0

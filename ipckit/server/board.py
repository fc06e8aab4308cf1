"""The board: the words all processes of one server share, made before the first fork.

Contract  a word with one writer is read and written plainly; a word with several changes only by
          one atomic step of the C core. Nothing here blocks, and a process killed at any place
          leaves every word whole.
Layout    header words | per slot and parity one row of words | session table
Stands on ipckit._core (ipk_words).
Fork      the mapping is anonymous and shared: made by the manager, inherited by all, gone with
          the last of them.
"""

from __future__ import annotations

import mmap

from ipckit._core import ffi, lib
from ipckit.server.task_load import Totals

__all__ = ["Board", "Phase", "Row"]

NOBODY = 0xFFFF
_SESSION_BITS = 40
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
    WORDS = 32


class _Header:
    PHASE = 0
    SESSION_IDS = 1
    LOADS = 2  # how many samples of the tasks' totals were taken, by the manager
    LOAD = 3  # the last two of them, of 4 words each
    WORDS = 16


class Board:
    """Shared words of `slots` processes and `sessions` connections.

    Process safe. The mapping ends with the object, in each process for itself.
    """

    def __init__(self, slots: int, sessions: int) -> None:
        self.slots = slots
        # Twice as many places as sessions, so that a free one is near.
        self.session_places = 1 << max(4, (2 * sessions - 1).bit_length())
        self._row0 = _Header.WORDS
        self._session0 = self._row0 + slots * 2 * Row.WORDS
        words = self._session0 + self.session_places
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

    def total(self, word: int, slots: range | None = None) -> int:
        """Return the sum of one word over the rows of `slots` (all)."""
        start = self._row0 + word
        places = range(2 * self.slots) if slots is None else range(2 * slots.start, 2 * slots.stop)
        return sum(self._words[start + place * Row.WORDS] for place in places)

    def parity(self, slot: int) -> int:
        """Return which of its two rows and inboxes the newest ready process of `slot` uses."""
        zero = self._row0 + slot * 2 * Row.WORDS + Row.INCARNATION
        return 1 if self._words[zero + Row.WORDS] > self._words[zero] else 0

    # -- sessions: id << 16 | owner + 1 ---

    def open_session(self, owner: int) -> int:
        """Return a new session id (never used before), owned by `owner`; 0: no place is free."""
        for _ in range(self.session_places):
            session = int(lib.ipk_word_add(self._base + _Header.SESSION_IDS, 1))
            word = self._base + self._session0 + session % self.session_places
            if lib.ipk_word_compare_and_set(word, 0, session << 16 | (owner + 1)):
                return session
        return 0

    def session_owner(self, session: int) -> int:
        """Return the owner of a live session, -1 when there is no such session."""
        if not 0 < session < 1 << _SESSION_BITS:
            return -1
        word = self._words[self._session0 + session % self.session_places]
        return (word & 0xFFFF) - 1 if word >> 16 == session else -1

    def close_session(self, session: int, owner: int) -> bool:
        """Forget it; False if it was not this owner's."""
        word = self._base + self._session0 + session % self.session_places
        return bool(lib.ipk_word_compare_and_set(word, session << 16 | (owner + 1), 0))

    def close_sessions_of(self, owner: int) -> list[int]:
        """Forget all sessions of a dead owner; return them."""
        found = []
        for place in range(self._session0, self._session0 + self.session_places):
            word = self._words[place]
            mine = word and (word & 0xFFFF) == owner + 1
            if mine and lib.ipk_word_compare_and_set(self._base + place, word, 0):
                found.append(word >> 16)
        return found

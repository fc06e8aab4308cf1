"""The board: the words all processes of one server share, made before the first fork.

Contract  a word with one writer is read and written plainly; a word with several changes only by
          one atomic step of the C core. Nothing here blocks, and a process killed at any place
          leaves every word whole.
Layout    header words | per slot and parity one row of words | session table | task words
Stands on ipckit._core (ipk_words, ipk_tasks).
Fork      the mapping is anonymous and shared: made by the manager, inherited by all, gone with
          the last of them.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

from ipckit._core import ffi, lib

__all__ = ["Board", "Phase", "Row", "TaskState", "TaskWord"]

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
    WANTS_ROOM = 3  # a full queue made this worker wait; whoever takes a message rings it
    BUSY_SINCE = 4  # ns of the monotonic clock; 0: idle
    OLDEST_TASK = 5  # the same clock; 0: none. Refreshed about once a second
    RESTARTS = 6  # by the manager
    REQUESTS = 7
    RESPONSES = 8
    ACCEPTED = 9
    CLOSED = 10
    TASKS = 11  # attempts ended (task worker)
    TASK_NS = 12  # run time of them
    TASKS_POSTED = 13
    TASKS_DONE = 14
    TASKS_BURIED = 15
    TASKS_FAILED = 16  # attempts that ended badly
    TASKS_RETRIED = 17
    TASKS_LOST = 18  # by the manager: held by a worker that died
    CALLBACK_ERRORS = 19
    FOREIGN_REFUSED = 20
    RESULTS_DROPPED = 21
    REQUESTS_DONE = 24  # less than REQUESTS while a callback is under way
    SWEPT = 23  # by the manager, before a sweep: the incarnation whose death it settles
    LEAVE = 22  # by the manager: the incarnation that shall go
    WORDS = 32


class TaskState:
    """States of a task word; `ipk_tasks.h` has the diagram."""

    FREE = lib.IPK_TASK_FREE
    HELD = lib.IPK_TASK_HELD
    QUEUED = lib.IPK_TASK_QUEUED
    RUNNING = lib.IPK_TASK_RUNNING
    ORPHANED = lib.IPK_TASK_ORPHANED


class TaskWord(NamedTuple):
    """A snapshot of one task word."""

    task_id: int
    attempt: int
    owner: int
    state: int


class _Header:
    PHASE = 0
    SESSION_IDS = 1
    TASK_IDS = 2
    ROOM_WANTED = 3  # some row may have WANTS_ROOM set: a hint that spares the scan
    WORDS = 8


def _mask(*states: int) -> int:
    bits = 0
    for state in states:
        bits |= 1 << state
    return bits


class Board:
    """Shared words of `slots` processes, `sessions` connections and `tasks` tasks.

    Process safe. The mapping ends with the object, in each process for itself.
    """

    def __init__(self, slots: int, sessions: int, tasks: int) -> None:
        self.slots = slots
        self.tasks = tasks
        # Twice as many places as sessions, so that a free one is near.
        self.session_places = 1 << max(4, (2 * sessions - 1).bit_length())
        self._row0 = _Header.WORDS
        self._session0 = self._row0 + slots * 2 * Row.WORDS
        self._task0 = self._session0 + self.session_places
        self._source0 = self._task0 + tasks
        words = self._source0 + tasks
        self._map = mmap.mmap(-1, words * _WORD)
        self._words = memoryview(self._map).cast("Q")
        self._buffer = ffi.from_buffer("uint64_t[]", self._map)
        self._base = ffi.cast("uint64_t *", self._buffer)
        self._task_words = self._base + self._task0
        self._look = ffi.new("uint64_t *"), ffi.new("uint32_t[3]")

    # -- header ---

    @property
    def phase(self) -> int:
        """What the server is at, a `Phase`."""
        return self._words[_Header.PHASE]

    def set_phase(self, phase: int) -> None:
        """By the manager alone."""
        lib.ipk_word_store(self._base + _Header.PHASE, phase)

    def next_task_id(self) -> int:
        """Return a task id: 1, 2, ..., each once in the life of the server."""
        return int(lib.ipk_word_add(self._base + _Header.TASK_IDS, 1))

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

    # -- room: who waits for a message to be taken ---

    def want_room(self, row: memoryview) -> None:
        """Ask for a ring when somebody takes a message. Look for room once more after it."""
        row[Row.WANTS_ROOM] = 1
        lib.ipk_word_store(self._base + _Header.ROOM_WANTED, 1)

    def take_room_wishes(self, workers: int) -> list[int]:
        """Return the worker slots that asked since the last call, and forget their wishes."""
        if not lib.ipk_word_load(self._base + _Header.ROOM_WANTED):
            return []
        lib.ipk_word_store(self._base + _Header.ROOM_WANTED, 0)  # first this, then the look
        found = []
        for place in range(2 * workers):
            word = self._row0 + place * Row.WORDS + Row.WANTS_ROOM
            if self._words[word] and lib.ipk_word_swap(self._base + word, 0):
                found.append(place // 2)
        return found

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

    # -- tasks ---

    def take_task(self, start: int, task_id: int, owner: int, source: int, within: int) -> int:
        """Take a free record for a task of the process at place `source`, one of `within`.

        Looks from `start` on. Returns its index, -1 when all are in use.
        """
        index = int(lib.ipk_task_take(self._task_words, within, start, task_id, owner))
        if index < 0:
            return -1
        self._words[self._source0 + index] = source
        return index

    def source(self, index: int) -> int:
        """Return the place of the worker that answers for the task in this record."""
        return self._words[self._source0 + index]

    def set_source(self, index: int, source: int) -> None:
        """Say who answers for it, before it is RUNNING."""
        self._words[self._source0 + index] = source

    def tasks_in(self, state: int) -> Iterator[int]:
        """Return the index of every task that is in `state` when it is looked at."""
        index = -1
        while True:
            index = int(lib.ipk_task_find(self._task_words, self.tasks, index + 1, state))
            if index < 0:
                return
            yield index

    def step(self, index: int, task_id: int, states: int, to: int, owner: int) -> int:
        """One step of a task; return its attempt, -1 when it is another's or elsewhere."""
        if not 0 <= index < self.tasks:
            return -1
        done = lib.ipk_task_step(self._task_words, index, task_id, states, to, owner)
        return int(done) if done >= 0 else -1

    def step_of_attempt(
        self, index: int, task_id: int, attempt: int, states: int, to: int, owner: int
    ) -> bool:
        """As step(), if the task is at this attempt."""
        if not 0 <= index < self.tasks:
            return False
        return bool(
            lib.ipk_task_step_of_attempt(
                self._task_words, index, task_id, attempt, states, to, owner
            )
            >= 0
        )

    def sweep_tasks(self, owner: int, state: int, to: int) -> int:
        """Move every task of a dead owner from one state to another; return how many."""
        return int(lib.ipk_task_sweep(self._task_words, self.tasks, owner, state, to))

    def look_at_task(self, index: int) -> TaskWord:
        """Return a snapshot of one task word."""
        task_id, rest = self._look
        lib.ipk_task_look(self._task_words, index, task_id, rest, rest + 1, rest + 2)
        return TaskWord(task_id[0], rest[0], rest[1], rest[2])

    def count_tasks(self) -> list[int]:
        """Return how many tasks are in each state."""
        counts = ffi.new("uint64_t[16]")
        lib.ipk_task_count(self._task_words, self.tasks, counts)
        return list(counts)


FROM_HELD = _mask(TaskState.HELD)
FROM_QUEUED = _mask(TaskState.QUEUED)
FROM_RUNNING = _mask(TaskState.RUNNING, TaskState.ORPHANED)
FROM_ORPHANED = _mask(TaskState.ORPHANED)
FROM_ANY = _mask(TaskState.HELD, TaskState.QUEUED, TaskState.RUNNING, TaskState.ORPHANED)

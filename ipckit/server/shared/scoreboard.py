"""The board: the words all processes of one server share, made before the first fork.

Contract  a word with one writer is read and written plainly; a word with several changes only by
          one atomic step of the C core. Nothing here blocks, and a process killed at any place
          leaves every word whole.
Layout    header words | per slot and parity one row of words | what the server is, as JSON; the
          sessions are beside it
Stands on ipckit._core (base/word), memfd_create(2).
Fork      the file has no name: made by the manager, inherited by all, gone with the last of them.
          Its descriptor stays open, so that another process of our user finds it in /proc
          (ipckit.server.monitoring.live_view).
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from ipckit._core import ffi, lib
from ipckit.server.shared.histogram import BUCKETS
from ipckit.server.shared.sessions import Sessions
from ipckit.server.shared.task_load import Totals
from ipckit.server.system.acquire import mapped, system_call

__all__ = ["BEATS", "Phase", "Row", "Scoreboard", "ScoreboardView", "shared_file"]

_WORD = 8
_MAGIC = 0x6970636B69740001
"""Of this layout: it ends with its version."""

BEATS = 4
"""A worker writes its BEAT so many times within worker_hang_timeout."""


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
    LEAVE = 17  # by the manager: the incarnation that is to leave
    BEAT = 18  # worker_hang_timeout: when the loop turned last, ns of the monotonic clock
    FLAPPING = 19  # by the manager: until when its slot counts as flapping, ns, monotonic clock
    COUNTING = (
        20  # the session it is about to open or close (ipckit.server.shared.session_counts); or 0
    )
    COUNTED = 21  # ACCEPTED or CLOSED before that
    LAST_DEATH = 22  # by the manager, of either incarnation, in the first row: Death.as_word()
    LAST_READ = 23  # a worker: when it last read from a client, ns of the monotonic clock
    DIED_AT = 24  # by the manager, in the first row: when LAST_DEATH was, ns since the epoch
    TASKS_REFUSED = 25  # TaskQueueFull of task(), taskwait(): there was no room
    REFUSED_FOR_MEMORY = 26  # of these, those for task_memory; the others for task_queue_size
    REFUSED_AT = 27  # when the last one was, ns of the monotonic clock
    MANAGER_ERRORS = 28  # by the manager, in the first row: its callbacks that raised
    HANDSHAKES = 29  # TLS handshakes under way; of a death: 0 by the manager
    LEAVING_SINCE = 30  # by the manager: since when it leaves, ns since the epoch; 0: it does not
    STARTING_SINCE = 31  # by the manager: since when it starts, ns since the epoch; 0: it is ready
    TIMES = 32  # histogram of its requests or attempts (ipckit.server.shared.histogram)
    WORDS = TIMES + BUCKETS


class _Header:
    PHASE = 0
    MAGIC = 1
    LOADS = 2  # how many samples of the tasks' totals were taken, by the manager
    LOAD = 3  # the last two of them, of 4 words each
    SLOTS = 11
    ABOUT = 12  # bytes of what the server is
    WORDS = 16


def shared_file(name: str, size: int) -> int:
    """Return the descriptor of memory that is inherited, and that /proc shows by its name.

    Raises SystemCallError, and leaves nothing.
    """
    detail = f"{size} bytes of shared memory for {name}"
    with system_call("memfd_create", detail, "raise ulimit -n"):
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        with system_call("ftruncate", detail):
            os.ftruncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


class ScoreboardView:
    """The board as any process may look at it."""

    FILE = "ipckit.board"
    """The name of its memory in /proc/PID/fd."""

    def __init__(self, memory: mmap.mmap) -> None:
        """Look at a board. ValueError: it is none of this version."""
        self._map = memory
        self._row0 = _Header.WORDS
        size = len(memory) // _WORD * _WORD
        self._words = memoryview(memory)[:size].cast("Q")
        if size < _Header.WORDS * _WORD or self._words[_Header.MAGIC] != _MAGIC:
            raise ValueError("the server's board is of another version of ipckit")
        self.slots = self._words[_Header.SLOTS]
        self._buffer = ffi.from_buffer("uint64_t[]", memory)
        self._base = ffi.cast("uint64_t *", self._buffer)

    @property
    def about(self) -> dict[str, Any]:
        """What its server is, as the manager wrote it down before the first fork."""
        start = (self._row0 + self.slots * 2 * Row.WORDS) * _WORD
        text = self._map[start : start + self._words[_Header.ABOUT]]
        return dict(json.loads(text))

    # -- header ---

    @property
    def phase(self) -> int:
        """What the server is at, a `Phase`."""
        return self._words[_Header.PHASE]

    @property
    def phase_word(self) -> memoryview:
        """Where it is written."""
        return self._words[_Header.PHASE : _Header.PHASE + 1]

    # -- samples of the tasks' totals ---

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
        """Return the words of one process; those of a Scoreboard are writable."""
        start = self._row0 + (slot * 2 + parity) * Row.WORDS
        return self._words[start : start + Row.WORDS]

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

    def times(self, slots: range) -> list[int]:
        """Return the histograms of `slots`, added up."""
        rows = [self.row(slot, parity) for slot in slots for parity in (0, 1)]
        return [sum(row[Row.TIMES + bucket] for row in rows) for bucket in range(BUCKETS)]


class Scoreboard(ScoreboardView):
    """Shared words of `slots` processes and `sessions` connections.

    Process safe. The mapping ends with the object, in each process for itself.
    """

    def __init__(self, slots: int, sessions: int, about: dict[str, Any] | None = None) -> None:
        """Make it. `about` describes the server to a process that looks at it from outside."""
        self.sessions = Sessions(sessions)
        text = json.dumps(about or {}).encode()
        words = _Header.WORDS + slots * 2 * Row.WORDS
        fd = shared_file(self.FILE, words * _WORD + len(text))
        try:
            memory = mapped(fd, words * _WORD + len(text))
        finally:
            os.close(fd)  # the mapping has its own
        memory[words * _WORD :] = text
        with memoryview(memory)[: words * _WORD].cast("Q") as header:
            header[_Header.ABOUT] = len(text)
            header[_Header.SLOTS] = slots
            header[_Header.MAGIC] = _MAGIC
        super().__init__(memory)

    def words_of(self, place: int) -> Any:
        """Return the words of the process at a place, for the C core: a uint64_t *."""
        return self._base + self._row0 + place * Row.WORDS

    def session_number(self, slots: int) -> Callable[[], int]:
        """Return a function that tells how many sessions the first `slots` slots have open."""
        return partial(lib.ipk_session_number, self.words_of(0), 2 * slots, Row.WORDS)

    def set_phase(self, phase: int) -> None:
        """By the manager alone."""
        lib.ipk_word_store(self._base + _Header.PHASE, phase)

    def sample_load(self, totals: Totals) -> None:
        """By the manager alone."""
        loads = self._words[_Header.LOADS]
        self._words[_Header.LOADS] = loads + 1  # first: nobody begins to read what is written over
        start = _Header.LOAD + loads % 2 * 4
        for word, value in enumerate(totals):
            self._words[start + word] = int(value * 1e9) if isinstance(value, float) else value

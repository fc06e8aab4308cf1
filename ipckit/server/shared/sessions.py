"""The sessions: every connection of a server by its number, in memory that all processes share.

A session is a row of words. Its first word, id << 16 | owner + 1, is the truth: it is set and taken
back by one compare-and-set. An id is used once. The owner writes the other words, except
UID and FLAGS, which every process may change by an atomic step.

Contract  a row is of a live connection as long as its first word has its id; a reader of the other
          words reads the first one again afterwards.
Stands on ipckit._core (sessions/sessions.h, base/word.h).
Fork      the mapping is anonymous and shared: made by the manager, inherited by all.
Blocks    never.  Crash  of an owner: the manager ends or hands on its sessions.
"""

from __future__ import annotations

import time
from typing import Any

from ipckit._core import ffi, lib
from ipckit.server.system.acquire import mapped

__all__ = ["Flag", "Sessions", "Word"]

_BITS = 40
"""Of a session id."""

_WORD = 8


class Word:
    """Words of a row."""

    OWNER = 0
    UID = 1  # of bind(), + 2^63; 0: not bound
    FLAGS = 2
    CONNECTED = 3  # ns since the epoch
    HEARD = 4  # when bytes came last, ns of the monotonic clock
    ADDRESS = 5  # two words: the client's IPv6 address, or its IPv4 address in the first four bytes
    PORTS = 7  # index of our port << 16 | the client's port number
    READ = 8  # bytes that were read and worked off; 2^64-1 until the first callback has returned
    WRITTEN = 9  # bytes that the owner was given to send
    PROMISED = 10  # bytes that others gave it to send; anybody adds, by an atomic step
    COUNT = 16


class Flag:
    """Bits of FLAGS."""

    PROTECTED = 1
    INHERITED = 2


_UID_BIAS = 1 << 63


class Sessions:
    """All sessions of one server; room for `most` at a time. Process safe."""

    def __init__(self, most: int) -> None:
        # Twice as many places as sessions, so that a free one is near.
        self.places = 1 << max(4, (2 * most - 1).bit_length())
        self._map = mapped(-1, (self.places + 1) * Word.COUNT * _WORD)
        self._words = memoryview(self._map).cast("Q")
        self._bytes = memoryview(self._map)
        self.rows = ffi.cast("uint64_t *", ffi.from_buffer("uint64_t[]", self._map))
        self._ids = self.places * Word.COUNT  # the word behind the rows: the last id

    # -- life of a session ---

    def open(self, owner: int) -> int:
        """Return a new session id (never used before), owned by `owner`; 0: no place is free.

        It is not counted, and nothing is known of its client: see SessionCounts.
        """
        return int(lib.ipk_session_open(self.rows, self.places, ffi.NULL, owner, b"", 0, 0))

    def owner_of(self, session: int) -> int:
        """Return the owner of a live session, -1 when there is no such session."""
        if not 0 < session < 1 << _BITS:
            return -1
        word = self._words[self._row(session)]
        return (word & 0xFFFF) - 1 if word >> 16 == session else -1

    def close(self, session: int, owner: int) -> bool:
        """Forget it; False if it was not this owner's."""
        return bool(lib.ipk_session_close(self.rows, self.places, ffi.NULL, owner, session))

    def close_all_of(self, owner: int) -> list[int]:
        """Forget all sessions of a dead owner; return them."""
        return [session for session in self.all_of(owner) if self.close(session, owner)]

    def all_of(self, owner: int) -> list[int]:
        """Return the sessions of one owner, in no order."""
        return [word >> 16 for word in self._owners() if word and word & 0xFFFF == owner + 1]

    def all(self) -> list[int]:
        """Return every session, the oldest first."""
        return sorted(word >> 16 for word in self._owners() if word)

    # -- what is known of it ---

    def row_of(self, session: int) -> memoryview:
        """Return its words, for the owner to write."""
        row = self._row(session)
        return self._words[row : row + Word.COUNT]

    def promise(self, session: int, count: int) -> None:
        """Add to the bytes that others than the owner gave it to send; or take them back."""
        lib.ipk_word_add(self.rows + self._row(session) + Word.PROMISED, count)

    def counts(self, session: int) -> tuple[int, int]:
        """Return how many bytes were worked off, and how many were to be written."""
        words = self.row_of(session)
        return words[Word.READ], words[Word.WRITTEN] + words[Word.PROMISED]

    def hand_over(self, session: int, owner: int, successor: int) -> bool:
        """Let it be another's; False if it was not this owner's."""
        word = self.rows + self._row(session)
        was, becomes = session << 16 | (owner + 1), session << 16 | (successor + 1)
        return bool(lib.ipk_word_compare_and_set(word, was, becomes))

    def port_of(self, session: int) -> int:
        """Return the index of the port it came to."""
        return self._words[self._row(session) + Word.PORTS] >> 16

    def idle_since(self, session: int) -> float:
        """Return when bytes came last, in seconds of the monotonic clock."""
        return self._words[self._row(session) + Word.HEARD] / 1e9

    def flags(self, session: int) -> int:
        """Return its flags."""
        return self._words[self._row(session) + Word.FLAGS]

    def flag(self, session: int, bit: int, *, on: bool) -> bool:
        """Set or clear a flag; False: there is no such session."""
        if self.owner_of(session) < 0:
            return False
        at = self._row(session) + Word.FLAGS
        while True:
            seen = self._words[at]
            wanted = seen | bit if on else seen & ~bit
            if lib.ipk_word_compare_and_set(self.rows + at, seen, wanted):
                return self.owner_of(session) >= 0

    def bind(self, session: int, uid: int) -> bool:
        """Bind it to a user's number, once; False: it is bound, or there is no such session."""
        if self.owner_of(session) < 0:
            return False
        word = self.rows + self._row(session) + Word.UID
        return bool(lib.ipk_word_compare_and_set(word, 0, uid + _UID_BIAS))

    def describe(self, session: int) -> dict[str, Any] | None:
        """Return what is known of a client, `port` the index of our port; None: it is gone."""
        owner = self.owner_of(session)
        row = self._row(session)
        words = self._words[row : row + Word.COUNT].tolist()
        start = (row + Word.ADDRESS) * _WORD
        ip = bytes(self._bytes[start : start + 16])
        if owner < 0 or self.owner_of(session) < 0:
            return None
        flags, uid, ports = words[Word.FLAGS], words[Word.UID], words[Word.PORTS]
        return {
            "port": ports >> 16,
            "ip": ip,
            "remote_port": ports & 0xFFFF,
            "worker_id": owner // 2,
            "connect_time": words[Word.CONNECTED] / 1e9,
            "last_time": _since_the_epoch(words[Word.HEARD]) / 1e9,
            "uid": uid - _UID_BIAS if uid else None,
            "protected": bool(flags & Flag.PROTECTED),
            "inherited": bool(flags & Flag.INHERITED),
        }

    # -- private ---

    def _row(self, session: int) -> int:
        return session % self.places * Word.COUNT

    def _owners(self) -> list[int]:
        return self._words[: self._ids : Word.COUNT].tolist()


def _since_the_epoch(monotonic_ns: int) -> int:
    """Return a moment of the monotonic clock as the wall clock of now counts it, in ns.

    The wall clock is read last: no time of a session is before it was connected.
    """
    ago = time.monotonic_ns() - monotonic_ns
    return time.time_ns() - ago

"""How many sessions a process opened and closed: right after a kill at any instruction.

Stands on ipckit._core (sessions/sessions.h, which has the invariants),
          ipckit.server.shared.{scoreboard,sessions}.
Blocks    never.
"""

from __future__ import annotations

from ipckit._core import lib
from ipckit.server.shared.scoreboard import Scoreboard

__all__ = ["SessionCounts"]


class SessionCounts:
    """The sessions of the process at one place, counted in its row: used by it alone."""

    def __init__(self, board: Scoreboard, place: int) -> None:
        self._owner = place
        self._process = board.words_of(place)
        self._rows, self._places = board.sessions.rows, board.sessions.places

    def open(self, port: int, ip: bytes = b"", number: int = 0) -> int:
        """Open one and count it; 0: no place is free.

        `port` is the index of our port; `ip` (4 or 16 bytes; empty: it has none) and `number` (its
        port) are the client's.
        """
        session = lib.ipk_session_open(
            self._rows,
            self._places,
            self._process,
            self._owner,
            ip,
            len(ip),
            port << 16 | number,
        )
        return int(session)

    def close(self, session: int) -> bool:
        """Close one and count it; False: it is not this process's."""
        done = lib.ipk_session_close(self._rows, self._places, self._process, self._owner, session)
        return bool(done)

    def settle(self) -> None:
        """The process is dead: count what it was about to do, if it was done."""
        lib.ipk_session_recover(self._rows, self._places, self._process, self._owner)

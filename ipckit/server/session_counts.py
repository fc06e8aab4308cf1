"""How many sessions a process opened and closed: right after a kill between any two steps.

The count of a process is in its row, the session in the sessions' memory, and no step changes both.
So the process writes down first what it is about to do and how many there were; after its death the
manager sees by the session itself whether it was done.

Invariants
  C1  a row's ACCEPTED and CLOSED are written by its process alone, after its death by the manager.
  C2  while COUNTING is not 0, the count is COUNTED or one more, and the session tells which.
"""

from __future__ import annotations

from ipckit.server.board import Row
from ipckit.server.sessions import Client, Sessions

__all__ = ["close_session", "open_session", "settle"]

_CLOSING = 1


def open_session(sessions: Sessions, row: memoryview, owner: int, client: Client) -> int:
    """Open one and count it; 0: no place is free."""

    def intend(session: int) -> None:
        row[Row.COUNTING] = session << 1

    row[Row.COUNTED] = row[Row.ACCEPTED]
    session = sessions.open(owner, client, intend)
    if session:
        row[Row.ACCEPTED] += 1
    row[Row.COUNTING] = 0
    return session


def close_session(sessions: Sessions, row: memoryview, owner: int, session: int) -> bool:
    """Close one and count it; False: it is not this owner's."""
    if sessions.owner_of(session) != owner:
        return False
    row[Row.COUNTED] = row[Row.CLOSED]
    row[Row.COUNTING] = session << 1 | _CLOSING
    sessions.close(session, owner)
    row[Row.CLOSED] += 1
    row[Row.COUNTING] = 0
    return True


def settle(sessions: Sessions, row: memoryview, owner: int) -> None:
    """The process is dead: count what it was about to do, if it was done."""
    intended = row[Row.COUNTING]
    if not intended:
        return
    closing = intended & _CLOSING
    is_there = sessions.owner_of(intended >> 1) == owner
    row[Row.CLOSED if closing else Row.ACCEPTED] = row[Row.COUNTED] + (is_there != closing)
    row[Row.COUNTING] = 0

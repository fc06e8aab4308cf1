"""The life of one connection, as a table: its stages, and what an event makes of each. Pure.

`Connection.stage` says at which stage a connection is. The connection's own fields decide, as each
packet asks them; the table says which changes of stage there are, and a test makes all of them.
The documentation draws the table: docs/design/connection-states.md.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["LIFE", "Event", "Stage"]


class Stage(Enum):
    """What a connection is at."""

    OPEN = "open"
    """It has a session; its callbacks run, and send() takes data."""
    PEER_ENDED = "peer ended"
    """The peer sends no more. The callbacks that are due still run, and what they send goes out."""
    ENDING = "ending"
    """The session has ended, so send() is False. `close` runs, or files are being sent."""
    FLUSHING = "flushing"
    """The callbacks are over. What was sent goes out as the peer reads it."""
    LINGERING = "lingering"
    """All was sent. What the peer still sends is thrown away, until its end of file."""
    HANDED_OVER = "handed over"
    """It is another process's; here only the descriptor is left."""
    LOST = "lost"
    """The descriptor is closed. Callbacks that are due still run."""


class Event(Enum):
    """What happens to a connection."""

    PEER_ENDS = "the peer's end of file"
    CLOSE = "close()"
    RESET = "close(reset=True)"
    LAST_CALLBACK = "the last callback is over"
    FLUSHED = "the peer took the rest"
    GIVE = "handover"
    LOSS = "the transport is lost"


_Stages = frozenset[Stage]

_OVER: _Stages = frozenset({Stage.ENDING, Stage.FLUSHING, Stage.LINGERING})
"""After the last callback: it waits for files, for the peer to read, or for the peer's end."""

LIFE: dict[tuple[Stage, Event], _Stages] = {
    (Stage.OPEN, Event.PEER_ENDS): frozenset({Stage.PEER_ENDED, Stage.ENDING, Stage.FLUSHING}),
    (Stage.OPEN, Event.LAST_CALLBACK): frozenset({Stage.OPEN}),
    (Stage.OPEN, Event.CLOSE): _OVER,
    (Stage.OPEN, Event.RESET): frozenset({Stage.ENDING}),
    (Stage.OPEN, Event.GIVE): frozenset({Stage.HANDED_OVER}),
    (Stage.OPEN, Event.LOSS): frozenset({Stage.LOST}),
    (Stage.PEER_ENDED, Event.CLOSE): frozenset({Stage.ENDING}),
    (Stage.PEER_ENDED, Event.RESET): frozenset({Stage.ENDING}),
    (Stage.PEER_ENDED, Event.LAST_CALLBACK): frozenset({Stage.ENDING, Stage.FLUSHING}),
    (Stage.PEER_ENDED, Event.LOSS): frozenset({Stage.LOST}),
    (Stage.ENDING, Event.PEER_ENDS): frozenset({Stage.ENDING}),
    (Stage.ENDING, Event.LAST_CALLBACK): _OVER,
    (Stage.ENDING, Event.LOSS): frozenset({Stage.LOST}),
    (Stage.FLUSHING, Event.PEER_ENDS): frozenset({Stage.FLUSHING}),
    (Stage.FLUSHING, Event.FLUSHED): frozenset({Stage.LINGERING}),
    (Stage.FLUSHING, Event.LOSS): frozenset({Stage.LOST}),
    (Stage.LINGERING, Event.PEER_ENDS): frozenset({Stage.LINGERING}),
    (Stage.LINGERING, Event.LOSS): frozenset({Stage.LOST}),
    (Stage.HANDED_OVER, Event.LOSS): frozenset({Stage.LOST}),
    (Stage.LOST, Event.LAST_CALLBACK): frozenset({Stage.LOST}),
}
"""(stage, event) -> the stages that it may be at afterwards. A pair that is not there changes
nothing: close() is False then, and a handover is refused."""

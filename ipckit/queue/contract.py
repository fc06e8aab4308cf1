"""What every queue of ipckit promises, and the values that cross its border.

Contract  docs/contracts/queue.md says these rules at length; tests name them by number.
  Q1   of the messages that fit a receive, the oldest comes first (POSIX: of the highest priority)
  Q2   type on receiving: 0 any, n > 0 that one, -n the lowest type <= n; exclude: any but n
  Q3   a body arrives whole and unchanged, 0 bytes too, whatever was sent beside it
  Q4   send_nowait never waits: QueueFull, and nothing was sent
  Q5   receive_nowait never waits: QueueEmpty, and nothing was taken
  Q6   timeout: None waits for ever, 0 tries once, else seconds; then QueueFull or QueueEmpty
  Q7   MessageTooLarge on sending: nothing was sent, and no waiting would help
  Q8   a message over max_size stays in the queue (MessageTooLarge); truncate cuts and takes it
  Q9   a wrong type of argument is TypeError, a wrong value ValueError, before the kernel is asked
  Q10  a removed queue is QueueRemoved for everybody, those who wait included (System V)
  Q11  close() detaches and leaves the queue to others; then every call is MisuseError
  Q12  a signal whose handler returns does not end a wait
  Q13  an areceive that is cancelled, late or killed while it waits has taken nothing
  Q14  receiving consumes: a message whose reader dies afterwards is gone
  Q15  statistics() tells how it stands now; set() changes only what is named, or nothing at all
  Q16  a pickle opens the queue by its id or name, or raises NotFound; none of a queue in memory
Stands on nothing of ipckit. Pure.
"""

# ruff: noqa: A002  (`type` is the kernel's word and the API's)

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "MAX_PRIORITY",
    "MAX_TYPE",
    "Body",
    "Message",
    "Statistics",
    "as_bytes",
    "check_choice",
    "check_number",
    "check_settings",
    "check_type",
    "fits",
]

Body = bytes | bytearray | memoryview

MAX_TYPE = 2**63 - 1
"""Of a message: the kernel's long."""

MAX_PRIORITY = 2**15 - 1
"""Of a POSIX message: MQ_PRIO_MAX - 1."""


MAX_ID = 2**32 - 2
"""Of a user or a group; the next number stands for none."""


class Message(NamedTuple):
    """One message as it was received. Immutable."""

    type: int
    """1..2**63-1 (System V), or the priority 0..32767 (POSIX)."""

    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """How a System V queue stands: msgctl(2) IPC_STAT. Times are seconds since 1970, 0.0: never."""

    messages: int
    bytes: int
    """The bodies of all messages together."""
    max_bytes: int
    """Most bytes, and most messages, at a time."""
    mode: int
    uid: int
    gid: int
    last_sender_pid: int
    last_receiver_pid: int
    sent_at: float
    received_at: float
    changed_at: float


def as_bytes(body: object) -> bytes:
    """Return the bytes of a body, or raise TypeError (Q9)."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, bytearray | memoryview):
        return bytes(body)
    raise TypeError(f"body must be bytes, bytearray or memoryview, not {type(body).__name__}")


def check_number(name: str, value: int, least: int, most: int) -> None:
    """Refuse another type than int, or another range (Q9)."""
    if not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: must be an int")
    if not least <= value <= most:
        if name == "mode":  # rights are read in octal
            raise ValueError(f"mode={value:#o}: must be {least}..{most:#o}, e.g. 0o600")
        raise ValueError(f"{name}={value!r}: must be {least}..{most}")


def check_type(type: int) -> None:
    """Refuse what cannot be the type of a message (Q9)."""
    if not isinstance(type, int):
        raise TypeError(f"type={type!r}: must be an int")
    if not 1 <= type <= MAX_TYPE:
        raise ValueError(f"type={type!r}: must be 1..2**63-1 (0 means 'any' when receiving)")


def check_settings(
    mode: int | None, uid: int | None, gid: int | None, max_bytes: int | None
) -> None:
    """Refuse what cannot be a setting (Q9); None stands for no change."""
    for name, value, most in (("mode", mode, 0o777), ("uid", uid, MAX_ID), ("gid", gid, MAX_ID)):
        if value is not None:
            check_number(name, value, 0, most)
    if max_bytes is not None:  # 0: nothing would ever fit, and a send() would wait for ever
        check_number("max_bytes", max_bytes, 1, 2**31 - 1)


def check_choice(type: int, exclude: bool, max_size: int | None) -> None:
    """Refuse what cannot choose a message (Q2, Q9)."""
    check_number("type", type, -MAX_TYPE, MAX_TYPE)
    if exclude and type < 1:
        raise ValueError(f"type={type!r}: exclude needs the type to leave out, 1 or more")
    if max_size is not None:
        check_number("max_size", max_size, 0, 2**63 - 1)


def fits(of_message: int, type: int, exclude: bool) -> bool:
    """Whether a message of the type `of_message` is chosen by `type` and `exclude` (Q2)."""
    if type == 0:
        return True
    if type < 0:
        return of_message <= -type
    return (of_message != type) if exclude else (of_message == type)

"""How many log lines of one kind are written, and which are only counted. Pure.

Each kind of line has a token bucket of its own: a line takes a token, BURST of them are there at
first, and RATE come back each second. Without a token a line is left out and counted; the count is
a line too, and takes the next token.

Contract  no clock: the caller gives the moment, which never goes back.
Stands on nothing.
Invariants
  R1  At most BURST + RATE * s lines of one kind are written in s seconds, counts included.
  R2  No line is lost in silence: what was offered is written, is in a count, or will be in one.
  R3  A kind has no effect on another one, as long as at most KINDS of them were seen within
      BURST / RATE seconds. All kinds beyond that share one bucket.
  R4  At most KINDS + 1 buckets are kept.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BURST", "KINDS", "RATE", "LeftOut", "LineLimit"]

BURST = 10
"""Lines of one kind that are written at once."""

RATE = 1.0
"""Lines a second of one kind after that."""

KINDS = 64
"""Kinds that have a bucket of their own."""

_OTHERS = ""
"""The kind of all lines beyond those."""


class LeftOut(NamedTuple):
    """Lines of one kind that were not written since the last count."""

    lines: int
    last: object
    """What the caller knows of the last one of them."""


class _Bucket:
    __slots__ = ("at", "last", "left_out", "tokens")

    def __init__(self, at: float) -> None:
        self.tokens = float(BURST)
        self.at = at  # when `tokens` was true
        self.left_out = 0
        self.last: object = None

    def fill(self, now: float) -> None:
        self.tokens = min(BURST, self.tokens + (now - self.at) * RATE)
        self.at = now

    def next_token(self) -> float:
        """Return the moment of the next whole token."""
        return self.at + max(0.0, 1 - self.tokens) / RATE


class LineLimit:
    """The lines of one process."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}
        self.untold = 0
        """Kinds with lines that were left out, and are not told."""

    def admits(self, kind: str, line: object, now: float) -> bool:
        """Return whether a line is to be written; if not, it is counted, and `line` kept of it."""
        bucket = self._bucket(kind, now)
        bucket.fill(now)
        if bucket.tokens >= 1 and not bucket.left_out:
            bucket.tokens -= 1
            return True
        self.untold += not bucket.left_out
        bucket.left_out += 1
        bucket.last = line
        return False

    def due(self, now: float) -> list[LeftOut]:
        """Return the counts that are to be written now, and forget them."""
        told = []
        for bucket in self._buckets.values():
            if not bucket.left_out:
                continue
            bucket.fill(now)
            if bucket.tokens >= 1:
                bucket.tokens -= 1
                told.append(self._taken(bucket))
        return told

    def rest(self) -> list[LeftOut]:
        """Return every count that was not told: the process ends. R1 does not hold for these."""
        return [self._taken(bucket) for bucket in self._buckets.values() if bucket.left_out]

    def next_due(self) -> float | None:
        """Return when due() has something to tell; None: nothing was left out."""
        moments = [each.next_token() for each in self._buckets.values() if each.left_out]
        return min(moments, default=None)

    def _bucket(self, kind: str, now: float) -> _Bucket:
        bucket = self._buckets.get(kind)
        if bucket is not None:
            return bucket
        if len(self._buckets) >= KINDS:
            self._forget(now)
        if len(self._buckets) >= KINDS:
            kind = _OTHERS
        return self._buckets.setdefault(kind, _Bucket(now))

    def _forget(self, now: float) -> None:
        """R4. A full bucket with nothing to tell is as good as a new one."""
        for kind, bucket in list(self._buckets.items()):
            bucket.fill(now)
            if bucket.tokens >= BURST and not bucket.left_out:
                del self._buckets[kind]

    def _taken(self, bucket: _Bucket) -> LeftOut:
        self.untold -= 1
        left_out = LeftOut(bucket.left_out, bucket.last)
        bucket.left_out, bucket.last = 0, None
        return left_out

"""What a task asks for besides a task worker: delay, ordering_key, dedup_key. Pure."""

from __future__ import annotations

import hashlib

__all__ = ["TaskOptions", "hash_key"]


class TaskOptions:
    """The options of one task."""

    __slots__ = ("dedup_key", "delay", "ordering_key")

    def __init__(
        self, delay: float = 0, ordering_key: str | None = None, dedup_key: str | None = None
    ) -> None:
        self.delay = delay
        self.ordering_key = ordering_key
        self.dedup_key = dedup_key

    @classmethod
    def checked(
        cls, delay: float, ordering_key: str | None, dedup_key: str | None
    ) -> TaskOptions | None:
        """Return the options; None: the task has none. Raises ValueError, TypeError."""
        number = isinstance(delay, int | float) and not isinstance(delay, bool)
        if not number or not 0 <= delay <= 10**9:
            raise ValueError(f"delay={delay!r}: must be a number of 0..10**9 seconds")
        for name, key in (("ordering_key", ordering_key), ("dedup_key", dedup_key)):
            if key is not None and not isinstance(key, str):
                raise TypeError(f"{name} must be a str or None, not {key!r}")
        if not delay and ordering_key is None and dedup_key is None:
            return None
        return cls(delay, ordering_key, dedup_key)


def hash_key(key: str) -> tuple[int, int]:
    """Return 128 bits that stand for a key: two numbers that are not both 0."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little") | 1, int.from_bytes(digest[8:], "little")

"""What is done to a process in one of its operations, and at which moment: a schedule's atom.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

POINT = "point "  # and its name
ANY = "any point"


@dataclass(frozen=True)
class Act:
    """One thing that is done to a process in an operation.

    `what`: kill, stop, pause (for `ns`), hold (until no other gets on), trace (by the parent, from
    here on), count (its steps).
    `at`: ``before`` (not called yet), ``start``, ``end``, ``step`` (before its `number`-th, from
    0), ``timer`` (`ns` after the start), or POINT with the name of a kill point, or ANY (its
    `number`-th passing).
    """

    what: str
    at: str
    number: int = 0
    ns: int = 0

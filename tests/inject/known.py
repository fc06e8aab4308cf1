"""Failures that the server does not withstand yet: they are left out of the run, and printed.

One line each: way role call kind errno, `*` for any; then what is seen. The list only gets shorter.
"""

from __future__ import annotations

import errno
from fnmatch import fnmatchcase

from inject.cases import Case
from inject.library.page import ROLES

_KNOWN = """
""".strip()

KNOWN = [line.split(None, 5) for line in _KNOWN.splitlines() if line]


def is_known(case: Case) -> bool:
    """Whether it is one of these."""
    names = (
        case.way,
        ROLES[case.role].replace(" ", "_"),
        case.call,
        case.kind or "-",
        errno.errorcode[case.error],
    )
    return any(all(map(fnmatchcase, names, line[:5])) for line in KNOWN)

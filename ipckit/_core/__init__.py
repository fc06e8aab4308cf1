"""The one gate to the C core: `ffi`, `lib`, and `check()`, which turns results into exceptions.

Contract  every ``ipk_`` function returns 0 or a positive result, or -errno.
Stands on ipckit.errors, ipckit._distribution and the compiled module ``_ipk``.
Fork      the core keeps no process-wide state of its own; each function says what a fork does.
"""

from __future__ import annotations

import sys
from typing import Any

from ipckit._distribution import why_not
from ipckit.errors import from_errno

try:
    from ipckit._core._ipk import ffi as _ffi
    from ipckit._core._ipk import lib as _lib
except ImportError as exc:
    hint = why_not(exc)
    if hint:
        raise ImportError(hint, name=exc.name) from exc
    raise

ffi: Any = _ffi
lib: Any = _lib

if "t" in sys.abiflags:  # a free-threaded Python
    # cffi 2.1 completes a struct's type at its first use, and two threads may do that at once.
    for _struct in ffi.list_types()[1]:
        ffi.typeof(f"struct {_struct}").fields  # noqa: B018

__all__ = ["check", "ffi", "lib", "process"]


class _Process:
    """What this process is, for those who warn about it."""

    __slots__ = ("server_process",)

    def __init__(self) -> None:
        self.server_process = ""
        """"worker 3" or "task worker 5" in a server's child; else empty."""


process = _Process()


def check(result: int, call: str, detail: str) -> int:
    """Return `result`, or raise the exception for the negative errno that it is.

    `call` names the system call for the error table; `detail` says what was asked, in numbers.
    """
    if result < 0:
        raise from_errno(call, -result, detail)
    return result

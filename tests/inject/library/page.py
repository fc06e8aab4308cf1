"""The control page and the journal of the preloaded library (inject.c), from the driver's side."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ENTRIES = 1 << 18

NOBODY, MANAGER, BOOT, WORKER, TASK_WORKER, USER_PROCESS = -1, 0, 1, 2, 3, 4
ROLES = ("manager", "booting", "worker", "task worker", "user process")
KINDS = ("", "file", "memory", "inet", "unix", "pipe", "log", "other")

# Notes of the library, then those of the server program (app.py).
FORK, QUEUE, FAILED = 1, 2, 3
(
    PROMISED,
    RUN,
    FINISHED,
    GIVEN_UP,
    CONNECT,
    CLOSE,
    WORKER_START,
    READY,
    RELOADED,
    ENDED,
    CALLBACK_RAISED,
) = range(10, 21)


class Note(NamedTuple):
    what: int
    pid: int
    a: int
    b: int


class _Entry(ctypes.Structure):
    _fields_ = (
        ("what", ctypes.c_uint32),
        ("pid", ctypes.c_int32),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def build(directory: Path) -> Path:
    """Compile the library; return its path."""
    path = directory / "inject.so"
    sources = [str(HERE / "inject.c"), str(HERE / "calls.c")]
    flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, "-o", str(path), *sources, "-ldl"], check=True)
    return path


def environment(library: Path, page: Path) -> dict[str, str]:
    """Return what a process needs to be driven; the page is made."""
    with open(page, "wb") as file:
        os.fchmod(file.fileno(), 0o666)  # also of workers of another user
        file.truncate(_size(library))
    return {**os.environ, "LD_PRELOAD": str(library), "IPCKIT_INJECT_PAGE": str(page)}


def _size(library: Path) -> int:
    calls = ctypes.CDLL(str(library)).inject_calls()
    return ctypes.sizeof(_layout(calls)) + mmap.PAGESIZE


def _layout(calls: int) -> type[ctypes.Structure]:
    class Layout(ctypes.Structure):
        _fields_ = (
            *((name, ctypes.c_int32) for name in "armed role call kind nth error".split()),
            *((name, ctypes.c_int32) for name in "seen failed".split()),
            ("counts", ctypes.c_uint32 * (len(ROLES) * calls * len(KINDS))),
            ("notes", ctypes.c_uint32),
            ("journal", _Entry * ENTRIES),
        )

    return Layout


class Page:
    """In a process that has the library preloaded."""

    def __init__(self) -> None:
        path = os.environ["IPCKIT_INJECT_PAGE"]
        library = ctypes.CDLL(None)
        library.inject_name.restype = ctypes.c_char_p
        self._note = library.inject_note
        self._note.argtypes = (ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint64)
        self._note.restype = None
        self.role = library.inject_role
        self.calls = [library.inject_name(i).decode() for i in range(library.inject_calls())]
        with open(path, "r+b") as file:
            layout = _layout(len(self.calls))
            self._map = mmap.mmap(file.fileno(), ctypes.sizeof(layout))  # 0 would ask fstat(2)
        self._page = layout.from_buffer(self._map)
        self._read = 0

    def note(self, what: int, a: int = 0, b: int = 0) -> None:
        """Write into the journal; no system call."""
        self._note(what, a, b)

    def clear(self) -> None:
        """Forget the journal. While no server lives."""
        size = min(self._page.notes, ENTRIES) * ctypes.sizeof(_Entry)
        ctypes.memset(self._page.journal, 0, size)
        self._page.notes = 0
        self._read = 0

    def new_notes(self) -> list[Note]:
        """Return what was noted since the last call."""
        end = self._page.notes
        if end > ENTRIES:
            raise AssertionError("the journal overflowed")
        notes = []
        while self._read < end:
            entry = self._page.journal[self._read]
            if not entry.what:
                break  # its writer is on the way, or was killed there
            notes.append(Note(entry.what, entry.pid, entry.a, entry.b))
            self._read += 1
        return notes

    # -- failures ---

    def arm(self, role: int, call: str, kind: str, error: int, nth: int) -> None:
        """Let the nth such call from now on fail."""
        page = self._page
        page.role, page.call, page.kind = role, self.calls.index(call), KINDS.index(kind)
        page.nth, page.error, page.seen, page.failed = nth, error, 0, 0
        page.armed = 1

    def disarm(self) -> bool:
        """Return whether a call was made to fail."""
        self._page.armed = 0
        return self._page.failed > 0

    @property
    def failed(self) -> bool:
        return self._page.failed > 0

    def counts(self) -> dict[tuple[int, str, str], int]:
        """Return how often each call of each role was made, by the kind of its descriptor."""
        words = list(self._page.counts)
        found, at = {}, 0
        for role in range(len(ROLES)):
            for call in self.calls:
                for kind in KINDS:
                    if words[at]:
                        found[role, call, kind] = words[at]
                    at += 1
        return found

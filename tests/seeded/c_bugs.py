"""The same in C (`bugs.c`), where only the engine `ptrace` can come between two instructions."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

from deadlines import RUN
from hypothesis import strategies as st
from seeded.python_bugs import Seeded

from ipckit.testing import Kill, op
from ipckit.testing.models import Counter, Register


def compiled(folder: Path) -> ctypes.CDLL:
    """Compile `bugs.c` to a library in that folder, and load it."""
    library = folder / "libseeded.so"
    source = Path(__file__).with_name("bugs.c")
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True, timeout=RUN
    )
    return ctypes.CDLL(str(library))


class InC(Seeded):
    library: ctypes.CDLL
    engine = "ptrace"
    libraries = ("libseeded",)

    def setup(self):
        super().setup()
        self.words = (ctypes.c_int32 * 64).from_buffer(self.memory)

    def teardown(self):
        del self.words
        super().teardown()

    def at(self, index):
        return ctypes.byref(self.words, 4 * index)


class NonAtomicIncrementInC(InC):
    specification = Counter()

    @op()
    def add(self):
        return self.library.seeded_add(self.at(0))


class TornNumberInC(InC):
    specification = Register(0)
    faults = (Kill(),)

    @op(value=st.integers(1, 9))
    def write(self, value):
        self.library.seeded_write(self.at(0), value)

    @op()
    def read(self):
        return self.library.seeded_read(self.at(0))


class LockThatTheDeadKeepInC(InC):
    kind = "blocked"
    deadline = 0.4
    specification = Counter()
    faults = (Kill(),)
    before = after = 0
    processes = operations = 2

    @op()
    def add(self):
        return self.library.seeded_locked_add(self.at(0), self.at(2))


class AbaInC(InC):
    """A free list of three; `keep` pops two and pushes the first of them back."""

    operations = 2

    def setup(self):
        super().setup()
        for cell in (3, 2, 1):
            self.library.seeded_push(self.at(0), cell)

    def model(self):
        return [1, 2, 3]

    @op()
    def pop(self):
        return self.library.seeded_pop(self.at(0))

    @pop.model
    def _(self, free):
        return (free[1:], free[0]) if free else (free, 0)

    @op()
    def keep(self):
        first, second = (self.library.seeded_pop(self.at(0)) for _ in range(2))
        if first:
            self.library.seeded_push(self.at(0), first)
        return second

    @keep.model
    def _(self, free):
        """Two pops and a push are three steps; others may come between them."""
        return ([free[0], *free[2:]], free[1]) if len(free) > 1 else (free, 0)


MACHINES = [NonAtomicIncrementInC, TornNumberInC, LockThatTheDeadKeepInC, AbaInC]

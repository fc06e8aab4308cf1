"""Machines whose state outlives a run: a lock of the module, which a killed process keeps."""

from __future__ import annotations

import multiprocessing

from ipckit import Atomic
from ipckit.testing import Kill, ProcessMachine, kill_point, op
from ipckit.testing.models import Counter

LOCK = multiprocessing.get_context("fork").Lock()


class LockOfTheModule(ProcessMachine):
    processes = 2
    operations = 2
    deadline = 0.5
    faults = (Kill(at="holds the lock"),)
    specification = Counter()

    def setup(self):
        self.number = Atomic()

    @op()
    def add(self):
        with LOCK:
            value = self.number.get() + 1
            kill_point("holds the lock")
            self.number.set(value)
            return value


class LockOfSomeCalls(LockOfTheModule):
    """Most calls need no lock, so not everything fails once it is kept."""

    @op()
    def get(self):
        return self.number.get()

"""CPython 3.11's multiprocessing.Value: increments under its lock add up; as a control, without it.
python -m pytest examples/survey/multiprocessing_.py
"""

import multiprocessing

from ipckit.testing import ProcessMachine, op

FORK = multiprocessing.get_context("fork")


class ValueCounts(ProcessMachine):
    """Increments under the Value's lock."""

    deadline = 2.0

    def setup(self):
        self.value = FORK.Value("i", 0)

    def model(self):
        return 0

    @op()
    def add(self):
        with self.value.get_lock():
            self.value.value += 1
            return self.value.value

    @add.model
    def _(self, state):
        return state + 1, state + 1


class ValueUnlocked(ValueCounts):
    """Increments without the lock: a control, as the manual says that these get lost."""

    engine = "stepped"

    @op()
    def add(self):
        self.value.value += 1

    @add.model
    def _(self, state):
        return state + 1, None

    @op()
    def read(self):
        return self.value.value

    @read.model
    def _(self, state):
        return state, state


TestValue = ValueCounts.TestCase
TestUnlocked = ValueUnlocked.TestCase

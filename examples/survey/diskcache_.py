"""diskcache 5.6.3 ("thread-safe and process-safe"): incr() adds up, and each pushed value is
pulled once, in order; also when a process is killed.
python -m pytest examples/survey/diskcache_.py
"""

import shutil
import tempfile

import pytest
from hypothesis import strategies as st

from ipckit.testing import Kill, ProcessMachine, op

diskcache = pytest.importorskip("diskcache")


class DiskCache(ProcessMachine):
    """A counter and a queue in one cache; `what` is which."""

    faults = (Kill(),)
    partition = "what"
    examples = 60
    runs = 3

    def setup(self):
        self.folder = tempfile.mkdtemp(prefix="survey-")
        self.cache = diskcache.Cache(self.folder)
        self.cache["n"] = 0
        self.cache.close()  # each process opens its own connection

    def teardown(self):
        self.cache.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def model(self):
        return ()

    @op(what=st.just("n"))
    def incr(self, what):
        return self.cache.incr(what)

    @incr.model
    def _(self, state, what):  # noqa: ARG002
        return (*state, 0), len(state) + 1

    @op(what=st.just("q"), value=st.integers(0, 9))
    def push(self, what, value):
        self.cache.push(value, prefix=what)

    @push.model
    def _(self, state, what, value):  # noqa: ARG002
        return (*state, value), None

    @op(what=st.just("q"))
    def pull(self, what):
        return self.cache.pull(prefix=what, default=(None, None))[1]

    @pull.model
    def _(self, state, what):  # noqa: ARG002
        return (state[1:], state[0]) if state else (state, None)


TestDiskCache = DiskCache.TestCase

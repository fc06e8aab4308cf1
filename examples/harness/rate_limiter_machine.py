"""The rate limiter of the folder above: with the row's lock, and by reading and then writing.

python -m pytest harness/rate_limiter_machine.py      in examples/, so that rate_limiter.py is found
"""

from hypothesis import strategies as st
from rate_limiter import RateLimiter

from ipckit import Atomic
from ipckit.testing import Kill, ProcessMachine, Stop, op

BURST = 2
CALLERS = st.sampled_from(["ada", "bob"])


class ReadThenWrite(RateLimiter):
    """Reading is one step and writing is one; two processes may take the same token."""

    def allow(self, caller):
        bucket = self.buckets.get(caller) or {"tokens": 0.0, "at": 0.0, "known": 0}
        allowed = self.take_from(bucket)
        self.buckets.set(caller, bucket)
        return allowed


class WrongLimiter(ProcessMachine):
    """One token a second; time passes only when the program says so."""

    kind = ReadThenWrite
    faults = (Kill(), Stop())  # also while it holds the lock

    def setup(self):
        self.now = Atomic()  # shared by the processes, like a system clock
        self.limiter = self.kind(per_second=1, burst=BURST, callers=2, clock=self.now.get)

    def teardown(self):
        broken = self.limiter.buckets.verify()
        self.limiter.buckets.close()
        assert broken == []

    def model(self):  # the time; of each caller the tokens, and when they were counted
        return {"now": 0}

    @op(caller=CALLERS)
    def allow(self, caller):
        return self.limiter.allow(caller)

    @allow.model
    def _(self, state, caller):
        tokens, at = state.get(caller, (BURST, state["now"]))
        tokens = min(BURST, tokens + state["now"] - at)
        allowed = tokens >= 1
        state[caller] = (tokens - allowed, state["now"])
        return state, allowed

    @op(seconds=st.integers(1, 2))
    def wait(self, seconds):
        self.now.add(seconds)

    @wait.model
    def _(self, state, seconds):
        state["now"] += seconds
        return state, None


class RightLimiter(WrongLimiter):
    """The same, with the lock."""

    kind = RateLimiter


TestWrong = WrongLimiter.TestCase
TestRight = RightLimiter.TestCase

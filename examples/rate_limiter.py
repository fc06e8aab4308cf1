"""A rate limiter for several processes: a token bucket for each caller, in the rows of a Table.

python examples/rate_limiter.py     four processes take tokens as fast as they can, for one second
"""

import multiprocessing
import sys
import time

from ipckit import Float, Int, Table


class RateLimiter:
    """At most `burst` in a row and `per_second` in the long run, over all processes forked later.

    `clock` returns seconds that are the same in all processes. If a process is killed inside
    `allow`, the old row stays and its lock is released.
    """

    def __init__(self, per_second, burst, callers, clock=time.monotonic):
        self.per_second, self.burst, self.clock = per_second, burst, clock
        self.buckets = Table(callers, columns={"tokens": Float(), "at": Float(), "known": Int(1)})

    def allow(self, caller):
        with self.buckets.lock(caller) as bucket:  # read, compute, write: one step for all others
            return self.take_from(bucket)

    def take_from(self, bucket):
        now = self.clock()  # read inside the lock, so it never runs backwards in a row
        gained = (now - bucket["at"]) * self.per_second
        tokens = min(self.burst, bucket["tokens"] + gained) if bucket["known"] else self.burst
        allowed = tokens >= 1
        bucket.update(tokens=tokens - allowed, at=now, known=1)
        return allowed


def ask(limiter, counts, end):
    while time.monotonic() < end:
        for caller in ("ada", "bob"):
            counts.incr(caller, "allowed", int(limiter.allow(caller)))
            counts.incr(caller, "asked")


def main():
    limiter = RateLimiter(per_second=50, burst=20, callers=2)
    counts = Table(2, columns={"asked": Int(8), "allowed": Int(8)})
    began = time.monotonic()
    fork = multiprocessing.get_context("fork")  # the tables are inherited by fork
    children = [fork.Process(target=ask, args=(limiter, counts, began + 1)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    failed = any(child.exitcode for child in children)
    most = 20 + 50 * (time.monotonic() - began)
    for caller, row in sorted(counts.items()):
        print(f"{caller}: {row['allowed']} allowed of {row['asked']}, the limit is {most:.1f}")
        failed = failed or row["allowed"] > most
    sys.exit(failed)


if __name__ == "__main__":
    main()

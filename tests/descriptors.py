"""The descriptors of the process of the tests: those it has, and none free."""

from __future__ import annotations

import contextlib
import gc
import os
import resource


def open_descriptors() -> list[str]:
    """Return their numbers; what earlier tests left to the collector is closed before."""
    gc.collect()
    return sorted(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def no_descriptors():
    """Inside it every call that wants a new descriptor fails with EMFILE; those there are work."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def few_descriptors(free: int):
    """Inside it so many new descriptors can be made; those there are work."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = [os.dup(0) for _ in range(free + 1)]  # new ones get the lowest numbers
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last[-1], hard))
        for fd in last[:-1]:
            os.close(fd)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(last[-1])

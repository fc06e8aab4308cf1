"""A process that has no free descriptor, for the tests of one module."""

from __future__ import annotations

import contextlib
import resource


@contextlib.contextmanager
def no_descriptors():
    """Inside it every call that wants a new descriptor fails with EMFILE; those there are work."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

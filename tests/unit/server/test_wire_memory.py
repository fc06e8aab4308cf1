"""Data that cannot be pickled for want of memory is not called data of a wrong kind."""

from __future__ import annotations

import resource

import pytest

from ipckit import _pickle_codec as pickle_codec


def test_want_of_memory_is_not_a_wrong_type():
    """D2: TypeError is for data that cannot travel; a MemoryError names no innocent part of it."""
    data = ["small", b"x" * (64 << 20)]
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), hard))
    try:
        with pytest.raises(MemoryError):
            pickle_codec.dump(data)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

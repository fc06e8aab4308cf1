"""poll(2) that fails: nothing ends, and the log says it."""

from __future__ import annotations

import logging
import os
import resource
import select

import pytest

from ipckit.server.system.poll import wait_for


@pytest.fixture
def poller():
    """More descriptors than poll(2) may be asked for, once the limit is lowered: EINVAL."""
    reading, writing = os.pipe()
    copies = [os.dup(reading) for _ in range(8)]
    made = select.poll()
    for fd in copies:
        made.register(fd, select.POLLIN)
    os.write(writing, b"x")
    yield made
    for fd in (reading, writing, *copies):
        os.close(fd)


def test_a_failure_is_logged_and_passes(poller, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with caplog.at_level(logging.WARNING, "ipckit"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (4, hard))
        try:
            assert wait_for(poller, 1.0) == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert "poll: [Errno 22] Invalid argument" in caplog.text
    assert len(wait_for(poller, 1.0)) == 8

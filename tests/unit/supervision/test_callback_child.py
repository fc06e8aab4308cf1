"""An event of the manager's in a child of its own: descriptors of any number, errors of any number."""

from __future__ import annotations

import logging
import os
import resource
import signal

import pytest

from ipckit.server.line_limit import BURST
from ipckit.server.log import limited
from ipckit.server.supervision.callback_child import run_in_child


class Manager:
    """As much of it as run_in_child() needs."""

    in_a_hurry = False

    def close_in_child(self):
        """There is nothing."""


@pytest.fixture
def over_1024_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    null = os.open(os.devnull, os.O_RDONLY)
    held = [null]
    while held[-1] < 1100:
        held.append(os.dup(null))
    yield
    for fd in held:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_f9_its_pidfd_may_be_over_1023(over_1024_descriptors):
    """F9: and the child is reaped, which the fixture of all tests looks at."""
    assert run_in_child(Manager(), os.getpid(), lambda: None) == 0


@pytest.mark.parametrize(
    ("end", "code"),
    [(lambda: os._exit(7), 7), (lambda: os.kill(os.getpid(), signal.SIGKILL), -signal.SIGKILL)],
)
def test_how_it_ended(end, code):
    assert run_in_child(Manager(), os.getpid(), end) == code


def test_what_it_raises_is_logged_within_the_limit(caplog):
    """F29, S22: the manager logs it, as each child would begin with a limit of its own."""

    def work():
        raise LookupError("of an event \udc80")

    limited.forget()
    raised = 0
    with caplog.at_level(logging.ERROR, "ipckit.server"):
        while len(caplog.messages) == raised:
            assert raised < 1000, "no line was left out"
            assert run_in_child(Manager(), os.getpid(), work) == 1
            raised += 1
        limited.flush()
    limited.forget()
    assert BURST < raised == len(caplog.messages)
    assert "LookupError: of an event \\udc80" in caplog.messages[0]
    last = "1 more lines like this one were left out: manager: an event raised"
    assert caplog.messages[-1].startswith(last)

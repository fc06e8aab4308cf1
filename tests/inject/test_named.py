"""Which lines of a log name a failure, and how long is waited for an answer."""

from __future__ import annotations

import errno
import os
import signal
import time

import pytest

from inject.cases import Case
from inject.errnos import ERRNOS
from inject.named import ACTIONS, CALLS, SQLITE, is_named, is_told
from inject.surroundings.patience import Hang, Patience, watch

TIME = "2026-11-29 20:15:00,000 17 ERROR "


def case(call, error):
    return Case("start", 0, call, "", error, 1)


@pytest.mark.parametrize(
    "line",
    [
        "manager: fork failed: SystemCallError: [Errno 11] fork: Resource temporarily unavailable",
        "fork: EAGAIN",
    ],
)
def test_a_line_with_the_call_and_the_errno_names_it(line):
    assert is_named(case("fork", errno.EAGAIN), [TIME + line])
    assert not is_named(case("fork", errno.ENOMEM), [TIME + line])
    assert not is_named(case("pidfd_open", errno.EAGAIN), [TIME + line])


def test_call_and_errno_must_be_of_one_line():
    lines = TIME + "fork: it is tried again\n" + TIME + "Resource temporarily unavailable\n"
    assert not is_named(case("fork", errno.EAGAIN), [lines])
    assert is_told(case("fork", errno.EAGAIN), [lines])


def test_a_traceback_is_of_the_line_above_it():
    lines = TIME + "worker 1 ends:\nTraceback\n  poller.poll()\nOSError: Cannot allocate memory\n"
    assert is_named(case("poll", errno.ENOMEM), [lines])


def test_the_words_for_an_action_name_its_calls_and_no_others():
    line = TIME + "worker 0: port 127.0.0.1:80: a client's socket failed: No buffer space available"
    assert is_named(case("setsockopt", errno.ENOBUFS), [line])
    assert not is_named(case("send", errno.ENOBUFS), [line])


def test_sqlite_names_its_step_for_the_call():
    line = TIME + "dead letters in letters: disk I/O error (SQLITE_IOERR_WRITE)"
    assert is_named(case("pwrite", errno.ENOSPC), [line])
    assert not is_named(case("fork", errno.EAGAIN), [line])


def test_the_tables_speak_of_calls_that_there_are():
    calls = {call for call, _ in ERRNOS}
    assert {*CALLS, *SQLITE} <= calls
    assert {call for text in ACTIONS.values() for call in text.split()} <= calls


@pytest.fixture
def watched():
    """A child that is watched, and gone afterwards."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    watch(lambda: [pid])
    yield pid
    watch(list)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_who_sleeps_has_its_seconds_and_no_more(watched):
    """The control of J4: a process that hangs is found, on a busy machine too."""
    patience = Patience(1.5)
    began = time.monotonic()
    while not patience.over():
        assert time.monotonic() < began + 60
        signal.sigtimedwait([], 0.01)
    with pytest.raises(Hang, match=r"not within 1.5 s: an answer"):
        patience.check("an answer")


def test_who_waits_for_a_cpu_has_that_time_besides(watched):
    """Two of one CPU: each of them waits for it half of the time."""
    cpu = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    rival = os.fork()
    if rival == 0:
        os.sched_setaffinity(0, {cpu})
        while True:
            pass
    try:
        os.sched_setaffinity(0, {cpu})
        patience = Patience(2)
        began = time.monotonic()
        while not patience.over():
            pass
        assert time.monotonic() - began > 2.2
    finally:
        os.sched_setaffinity(0, before)
        os.kill(rival, signal.SIGKILL)
        os.waitpid(rival, 0)

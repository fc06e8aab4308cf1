"""What a failure means to the manager: E1 to E4, for any errno and any number of failures."""

from __future__ import annotations

import errno
import os
import sqlite3

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ipckit.errors import SystemCallError
from ipckit.server.system.failure_policy import (
    ATTEMPTS,
    PAUSES,
    Operation,
    code_of,
    decide,
    in_words,
    lies_in_the_data,
    passes,
    pause_after,
)

CODES = st.sampled_from([None, *sorted(errno.errorcode)])
FAILURES = st.integers(1, 10_000)
OPERATIONS = st.sampled_from(Operation)


@given(CODES, FAILURES)
def test_e2_what_the_server_needs_is_never_given_up(code, failures):
    """E1, E2."""
    for operation in (Operation.RESTORE, Operation.STEP):
        assert decide(operation, code, failures) is not None


@given(OPERATIONS, CODES, FAILURES)
def test_e3_pauses_grow_and_have_a_limit(operation, code, failures):
    """E3."""
    now, then = (decide(operation, code, failures + more) for more in (0, 1))
    if now is not None:
        assert PAUSES[0] <= now <= PAUSES[-1]
        assert then is None or then >= now
    else:
        assert then is None, "what is given up stays so"


@given(CODES)
def test_e4_what_can_be_given_up_is(code):
    """E4: one attempt where it will fail again, else a few; a letter always gets a few."""
    for operation in (Operation.BOOT, Operation.REPLACE, Operation.CALLBACK):
        assert decide(operation, code, ATTEMPTS) is None
        assert (decide(operation, code, 1) is None) == (not passes(code))
    assert decide(Operation.LETTER, code, 1) is not None
    assert (decide(Operation.LETTER, code, 1000) is None) == lies_in_the_data(code)
    assert decide(Operation.UNDO, code, 1) is None


def test_what_may_pass():
    for code in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EIO):
        assert passes(code), os.strerror(code)
    for code in (None, errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.ENOENT):
        assert not passes(code)


def test_the_errno_of_an_exception():
    assert code_of(SystemCallError(errno.EMFILE, "x")) == errno.EMFILE
    assert code_of(MemoryError()) == errno.ENOMEM
    assert code_of(ValueError("x")) is None


@given(st.integers(-5, 100))
def test_a_pause_for_any_number(failures):
    assert pause_after(failures) in PAUSES


def test_an_error_without_a_text_has_its_name_and_sqlite_its_step(tmp_path):
    assert in_words(MemoryError()) == "MemoryError"
    assert in_words(OSError(errno.ENOSPC, "no room")) == "[Errno 28] no room"
    with pytest.raises(sqlite3.Error) as raised:
        sqlite3.connect(tmp_path / "no" / "file")
    assert in_words(raised.value) == "unable to open database file (SQLITE_CANTOPEN)"

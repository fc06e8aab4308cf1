"""For any text, with lone surrogates too: it is logged, answered and kept, and nothing raises."""

from __future__ import annotations

import json
import logging
import os

from hypothesis import given
from hypothesis import strategies as st

from ipckit._text import escape_surrogates
from ipckit.server.log import log
from ipckit.server.monitoring.control_socket import answer_line
from ipckit.server.tasks.retry_policy import Failure

SURROGATES = st.characters(categories=["Cs"])
ANY = st.lists(st.characters(codec="utf-8") | SURROGATES).map("".join)
NAMES = st.binary().map(os.fsdecode)
"""JSON joins two surrogates that are a pair; the names of files have none."""


@given(ANY)
def test_the_escaped_text_is_utf_8_and_the_same_where_it_was(text):
    """F1: only what UTF-8 has not is escaped."""
    escaped = escape_surrogates(text)
    assert escaped.encode().decode() == escaped
    try:
        text.encode()
    except UnicodeEncodeError:
        assert "\\ud" in escaped
    else:
        assert escaped == text


@given(ANY)
def test_a_line_of_the_log_reaches_every_handler_so_that_it_can_be_written(text):
    """F1: L1 of ipckit/server/log.py."""
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage().encode())
    before = log.level, log.propagate
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.DEBUG)
    try:
        log.error("it raised %s", text)
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before
    assert seen == [b"it raised " + escape_surrogates(text).encode()]


@given(NAMES)
def test_the_control_socket_answers_in_ascii(text):
    """F1: the error of a command, and a path in an answer, with any text."""

    def refuse(_):
        raise ValueError(text)

    for commands in ({"status": refuse}, {"status": lambda _: {"error": f"ValueError: {text}"}}):
        answer = answer_line(b'{"command": "status"}', commands)
        assert answer.isascii() and json.loads(answer)["error"] == f"ValueError: {text}"


@given(NAMES, NAMES)
def test_a_failure_comes_back_from_its_file(error, traceback):
    """F1: why an attempt failed is kept as it was."""
    failure = Failure(error, traceback)
    assert Failure(**json.loads(json.dumps(failure.to_json()).encode())) == failure

"""The C half of a connection: its words are the board's, and wrong use of it raises."""

from __future__ import annotations

import gc
import time
import weakref
from collections import deque

import pytest

from ipckit._core import _stream
from ipckit.framing import Framing
from ipckit.server.shared.histogram import EVERY, upper_bound
from ipckit.server.shared.scoreboard import Row, Scoreboard
from ipckit.server.shared.sessions import Word


def test_its_words_are_those_of_the_rows():
    for name in ("HEARD", "READ", "WRITTEN"):
        assert getattr(_stream, name) == getattr(Word, name)
    for name in ("REQUESTS", "REQUESTS_DONE", "RESPONSES", "LAST_READ"):
        assert getattr(_stream, name) == getattr(Row, name)
    assert (_stream.SESSION_WORDS, _stream.PROCESS_WORDS) == (Word.COUNT, Row.WORDS)


class Plain(_stream.Stream):
    """Stream with as little as it can do with."""

    def __init__(self, board, receive, framer=None, rule=None):
        self.board = board
        self.left = []
        self._waiting = deque()
        self._begin("server", 3, receive, framer, rule, False, False, board.row(0, 0))

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args: self.left.append((name, *args))

    def open(self):
        session = self.board.sessions.open(0)
        self._attach(session, self.board.sessions.row_of(session))
        return self


@pytest.fixture
def board():
    return Scoreboard(slots=1, sessions=4)


def test_a_packet_is_handed_out_counted_and_settled(board):
    got = []
    stream = Plain(board, lambda *args: got.append((*args, stream._running))).open()
    stream.data_received(b"abc")
    stream.data_received(b"de")
    assert got == [("server", 1, 3, b"abc", True), ("server", 1, 3, b"de", True)]
    assert not stream._running and stream.left == []
    words, row = board.sessions.row_of(1), board.row(0, 0)
    assert words[Word.READ] == stream._total == 5
    assert row[Row.REQUESTS] == row[Row.REQUESTS_DONE] == 2


def test_what_is_unusual_is_left_to_the_subclass(board):
    stream = Plain(board, lambda *args: 1 / 0).open()
    stream.data_received(b"abc")
    ((name, error),) = stream.left
    assert name == "_receive_raised" and type(error) is ZeroDivisionError
    for plain in (None, True, 7, "text", b"bytes"):
        stream = Plain(board, lambda *_, plain=plain: plain).open()
        stream.data_received(b"abc")
        assert stream.left == [] and not stream._running
        board.sessions.close(stream.session, 0)
    stream = Plain(board, lambda *args: ["a result"]).open()
    stream.data_received(b"abc")
    assert stream.left == [("_receive_returned", ["a result"])]
    assert stream._running, "who was told decides"
    stream.data_received(b"def")
    assert stream.left[1:] == [("_put_aside", b"def")]
    stream._reader_is_slow = True
    stream.send(b"data")
    assert stream.left[2:] == [("_send_behind", b"data", 0)]


@pytest.mark.parametrize("here", [True, False])
def test_packets_before_a_refusal_and_the_refusal(board, here):
    got = []
    framing = Framing(open_eof_split=True, package_eof=b"\n", package_max_length=4)
    rule = framing.rule() if here else None
    stream = Plain(board, lambda *args: got.append(args[3]), framing.framer(), rule).open()
    stream.data_received(b"one\ntw")
    assert got == [b"one\n"] and board.sessions.row_of(1)[Word.READ] == 4
    stream.data_received(b"oooo")
    ((name, error),) = stream.left
    assert name == "_stream_raised" and "package_max_length is 4" in str(error)


def test_answers_are_written_before_a_refusal_is_left_to_the_subclass(board):
    written = []
    framing = Framing(open_eof_split=True, package_eof=b"\n", package_max_length=4)
    stream = Plain(board, lambda *args: stream.send(args[3]), framing.framer(), framing.rule())
    stream.open()._write = written.append
    stream._stream_raised = lambda error: written.append(type(error).__name__)
    stream.data_received(b"a\nb\nlonger\n")
    assert written == [b"a\nb\n", "PacketRefused"]


def test_a_rule_that_no_framing_makes(board):
    framer = Framing(open_eof_split=True).framer()
    for wrong, error in (
        (7, TypeError), ((1,), TypeError), ((4, 9, b"a", 0, 0, 0, 0, 0), SystemError),
        ((1, 9, b"", 0, 0, 0, 0, 0), SystemError), ((3, 9, b"", 0, 9, 0, 0, 0), SystemError),
        ((1, 9, b"123456789", 0, 0, 0, 0, 0), SystemError),
    ):  # fmt: skip
        with pytest.raises(error, match=r"rule|argument"):
            Plain(board, print, framer, wrong)


def test_nothing_is_sent_or_handed_out_at_the_end(board):
    written = []
    stream = Plain(board, lambda *args: written.append(args)).open()
    stream._write = written.append
    assert stream.send(b"four")
    assert stream.send(b"more", True)
    assert written == [b"four", b"more"]
    assert board.sessions.row_of(1)[Word.WRITTEN] == 4, "what was promised is counted already"
    assert board.row(0, 0)[Row.RESPONSES] == 2
    stream._ending = "why"
    assert stream.send(b"x") is False
    stream.data_received(b"x")
    assert len(written) == 2


def test_wrong_use(board):
    stream = Plain(board, print)
    with pytest.raises(SystemError, match="before the connection had a session"):
        stream.data_received(b"x")
    with pytest.raises(SystemError, match="begins once"):
        stream._begin("server", 3, print, None, None, False, False, board.row(0, 0))
    with pytest.raises(SystemError, match=r"a row has 8 bytes in place of 16 words"):
        stream._attach(1, board.sessions.row_of(1)[:1])
    stream.open()
    with pytest.raises(SystemError, match="one session"):
        stream.open()
    for wrong in ((), (b"x", True, 3), (7,)):
        with pytest.raises(TypeError):
            stream.send(*wrong)
    with pytest.raises(TypeError):
        stream.data_received(7)


def test_a_cycle_through_it_is_collected(board):
    class Server:
        pass

    server = Server()
    gone = weakref.ref(server)
    server.stream = Plain(board, lambda *_, server=server: server)
    server.stream._files = server
    del server
    gc.collect()
    assert gone() is None


def test_one_request_in_seven_is_timed(board):
    stream = Plain(board, lambda *_: None).open()
    began = time.monotonic_ns()
    for _ in range(2 * EVERY + 1):
        stream.data_received(b"x")
    row = board.row(0, 0)
    assert row[Row.REQUESTS_DONE] == 15 and sum(board.times(range(1))) == 3
    assert began <= row[Row.LAST_READ] <= time.monotonic_ns()


def test_a_coroutine_is_timed_to_its_end(board):
    stream = Plain(board, lambda *_: object()).open()
    stream.data_received(b"x")
    assert stream.left[-1][0] == "_receive_returned" and not any(board.times(range(1)))
    until = time.monotonic() + 0.002
    while time.monotonic() < until:
        pass
    stream._timed()
    stream._timed()
    times = board.times(range(1))
    assert sum(times) == 1 and upper_bound(times.index(1)) > 0.002

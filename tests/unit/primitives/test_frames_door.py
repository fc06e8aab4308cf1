"""A channel's frames in C: the same bytes as the Python half's, and what is unusual comes back."""

from __future__ import annotations

import array
import errno
import os
import socket

import pytest
from deadlines import LOOK

from ipckit._core import _frames
from ipckit.channel import Channel
from ipckit.channel.frames import PIECE, Decoder, Frame, Outgoing, encode_head

MOST = 2**31 - 1


@pytest.fixture
def ends():
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


def unit(body, kind=0, ident=0):
    return Outgoing(encode_head(len(body), kind, ident, 0, MOST), body).unit


@pytest.mark.parametrize("size", [0, 1, 100, PIECE])
def test_it_writes_what_the_python_half_would_and_takes_it_back(ends, size):
    one, other = ends
    body = os.urandom(size)
    assert _frames.send(one.fileno(), body, 65535, 2**64 - 1, MOST) == 0
    wire = other.recv(1 << 16)
    assert wire == unit(body, 65535, 2**64 - 1)
    one.send(wire + wire)
    for _ in range(2):
        taken = _frames.take(other.fileno(), MOST, Frame)
        if size:
            assert taken == Frame(65535, 2**64 - 1, body, ())
            assert taken.__class__ is Frame
        else:
            assert taken == (wire, b"", False, b"")
    assert _frames.take(other.fileno(), MOST, Frame) is None


def test_what_is_unusual_is_not_sent(ends):
    one, other = ends
    for body, kind, ident, most in (
        (bytearray(b"x"), 0, 0, MOST), (bytes(PIECE + 1), 0, 0, MOST), (b"xx", 0, 0, 1),
        (b"x", 65536, 0, MOST), (b"x", -1, 0, MOST), (b"x", 0, 2**64, MOST), (b"x", "0", 0, MOST),
        (b"x", 0, 1.0, MOST), (b"x", True, 0, MOST),
    ):  # fmt: skip
        assert _frames.send(one.fileno(), body, kind, ident, most) == -1
    assert _frames.take(other.fileno(), MOST, Frame) is None
    assert _frames.send(-1, b"x", 0, 0, MOST) == -1


def test_a_full_socket_takes_a_part_or_nothing(ends):
    one, other = ends
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    body, sent = b"x" * 20_000, []
    while not sent or sent[-1] == 0:
        sent.append(_frames.send(one.fileno(), body, 0, 0, MOST))
    assert sent[-1] == -1 or 0 < sent[-1] < len(unit(body))
    wire = b""
    while True:
        try:
            wire += other.recv(1 << 20)
        except BlockingIOError:
            break
    assert wire == unit(body) * (len(sent) - 1) + unit(body)[: max(0, sent[-1])]


@pytest.mark.parametrize("cut", [1, 16, 17, 18, 50, 117])
def test_a_frame_that_is_not_whole_comes_back_for_the_decoder(ends, cut):
    one, other = ends
    wire = unit(b"y" * 100, 7, 9)
    assert len(wire) == 118
    one.send(wire[:cut])
    data, rights, lost, rest = _frames.take(other.fileno(), MOST, Frame)
    assert (data, rest, rights, lost) == (wire[: min(cut, 17)], wire[17:cut], b"", False)
    decoder = Decoder(MOST)
    assert [decoder.feed(part) for part in (data, rest) if part][-1] is None
    arrived = None
    while arrived is None:
        step = wire[cut : cut + decoder.wanted]
        cut += len(step)
        arrived = decoder.feed(step)
    assert arrived == (7, 9, 0, b"y" * 100)
    assert cut == len(wire)


def test_a_given_up_frame_descriptors_a_large_one_and_the_end_come_back(ends):
    one, other = ends
    one.send(unit(b"abc")[:-1] + b"D")
    assert _frames.take(other.fileno(), MOST, Frame) == (unit(b"abc")[:17], b"", False, b"abcD")
    one.send(unit(b"abc"))
    assert _frames.take(other.fileno(), 2, Frame) == (unit(b"abc")[:17], b"", False, b"")
    assert other.recv(100) == b"abcE"
    head = encode_head(3, 0, 0, 1, MOST)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]
    one.sendmsg([head + b"G"], rights)
    data, numbers, lost, rest = _frames.take(other.fileno(), MOST, Frame)
    (fd,) = array.array("i", numbers)
    os.close(fd)
    assert (data, lost, rest) == (head + b"G", False, b"")
    one.close()
    assert _frames.take(other.fileno(), MOST, Frame) == (b"", b"", False, b"")


def test_wrong_use(ends):
    for arguments in ((), ("0", b"", 0, 0, 0), (2**80, b"", 0, 0, 0)):
        with pytest.raises((TypeError, OverflowError)):
            _frames.send(*arguments)
    for arguments in ((), ("0", 1, Frame), (0, -1, Frame), (0, 1, dict), (0, 1, 2)):
        with pytest.raises(TypeError):
            _frames.take(*arguments)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        _frames.take(-1, MOST, Frame)


def test_a_part_that_was_written_in_c_is_finished(ends):
    """The writer waits in send() with a part of its frame with the kernel; the reader takes all."""
    one, other = ends
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with Channel(one) as near, Channel(other) as far:
        pid = os.fork()
        if pid == 0:
            for number in range(50):
                near.send(b"%02d" % number * 15_000, ident=number)
            os._exit(0)
        for number in range(50):
            frame = far.receive(timeout=LOOK)
            assert (frame.ident, frame.body) == (number, b"%02d" % number * 15_000)
        assert os.waitpid(pid, 0)[1] == 0

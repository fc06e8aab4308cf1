"""Channels obey docs/contracts/channel.md, C1..C12, with real processes and real sockets."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import threading

import pytest
from channels import (  # noqa: F401  (fixtures)
    child,
    exit_code,
    no_descriptor_leaks,
    pair,
    raw,
    state_of,
    unread,
    until,
    uvloop_has_run,
)
from deadlines import LOOK
from descriptors import open_descriptors
from timing import soonest

from ipckit.channel import Channel, Frame
from ipckit.errors import (
    MessageTooLarge,
    MisuseError,
    PeerGone,
    ProtocolError,
    SystemCallError,
    WaitTimeout,
)

SIZES = [0, 1, 64 * 1024, 5 * 1024 * 1024]
BIG = b"B" * (3 * 1024 * 1024)


@pytest.mark.parametrize("size", SIZES)
def test_c1_frames_cross_a_fork_and_come_back(pair, size):
    """C1: kind, ident and body arrive as sent, in order, in another process and back."""
    ours, theirs = pair

    def echo():
        ours.close()
        for _ in range(3):
            frame = theirs.receive(LOOK)
            theirs.send(frame.body, kind=frame.kind, ident=frame.ident, timeout=LOOK)

    body = os.urandom(1) * size
    with child(echo) as pid:
        theirs.close()
        for kind, ident in ((0, 0), (65535, 2**64 - 1), (7, 8)):
            ours.send(body, kind=kind, ident=ident, timeout=LOOK)
            assert ours.receive(LOOK) == Frame(kind, ident, body, ())
        assert exit_code(pid) == 0


def test_c1_any_bytes_like_body(pair):
    """C1: bytes, bytearray and memoryview are sent as their bytes; text is refused."""
    one, other = pair
    for body in (b"ab", bytearray(b"ab"), memoryview(b"xaby")[1:3], memoryview(b"ab").cast("H")):
        one.send(body)
        assert other.receive(0).body == b"ab"
    with pytest.raises(TypeError):
        one.send("ab")


def test_c2_a_writer_killed_in_mid_frame(pair):
    """C2, C5: kill -9 in the middle of a frame is PeerGone for the reader, after what was whole."""
    ours, theirs = pair

    def write():
        ours.close()
        theirs.send(b"whole")
        theirs.send(BIG, fds=[2])

    with child(write) as pid:
        theirs.close()
        until(lambda: unread(ours) > 100_000)
        os.kill(pid, signal.SIGKILL)
        assert exit_code(pid) == -signal.SIGKILL

        assert ours.receive(LOOK).body == b"whole"
        for _ in range(2):
            with pytest.raises(PeerGone, match="in the middle of a frame"):
                ours.receive(LOOK)
        with pytest.raises(PeerGone):
            ours.send(b"x", timeout=LOOK)


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_c3_a_send_that_ran_out_of_time_never_happened(pair, timeout):
    """C3: after WaitTimeout in mid-frame the reader sees the next frame and nothing else."""
    one, other = pair
    with pytest.raises(WaitTimeout, match="never arrives"):
        one.send(BIG, kind=1, fds=[2], timeout=timeout)
    assert unread(other) > 100_000
    with pytest.raises(WaitTimeout):
        other.receive_nowait()

    one.send(b"next", kind=2, timeout=timeout)
    one.send_nowait(b"", kind=3)
    assert other.receive(LOOK) == Frame(2, 0, b"next", ())
    assert other.receive(LOOK) == Frame(3, 0, b"", ())


def test_c3_nowait_until_full(pair):
    """C3: send_nowait fills the socket and then says so; every frame it took arrives."""
    one, other = pair
    sent = 0
    with pytest.raises(WaitTimeout):
        while True:
            one.send_nowait(b"x" * 5000, ident=sent)
            sent += 1

    assert sent > 10
    assert [other.receive_nowait().ident for _ in range(sent)] == list(range(sent))
    with pytest.raises(WaitTimeout):
        other.receive_nowait()


def test_c3_the_time_limit_holds(pair):
    """C3, C4: a wait ends about when it should, and a negative limit is refused."""
    one, _ = pair

    def receive():
        with pytest.raises(WaitTimeout, match=r"0\.05 s are over"):
            one.receive(0.05)

    def send():
        with pytest.raises(WaitTimeout):
            one.send(BIG, timeout=0.05)

    assert 0.05 <= soonest(receive) < 1
    assert 0.05 <= soonest(send) < 1
    with pytest.raises(ValueError, match="timeout=-1"):
        one.receive(-1)


def test_c4_a_receive_that_ran_out_of_time_loses_nothing(pair):
    """C4: a frame that arrives over several timed-out receives is whole in the end."""
    one, other = pair

    def write():
        other.close()
        one.send(BIG, fds=[2], timeout=LOOK)
        assert one.receive(LOOK).body == b"got it"

    with child(write) as pid:
        one.close()
        until(lambda: unread(other) > 100_000)
        os.kill(pid, signal.SIGSTOP)
        until(lambda: os.waitpid(pid, os.WUNTRACED | os.WNOHANG)[0] == pid)
        for timeout in (0, 0.02):
            with pytest.raises(WaitTimeout, match="what has come is kept"):
                other.receive(timeout)
            assert unread(other) == 0

        os.kill(pid, signal.SIGCONT)
        frame = other.receive(LOOK)
        assert frame.body == BIG
        assert len(frame.fds) == 1
        os.close(frame.fds[0])
        other.send(b"got it")
        assert exit_code(pid) == 0


def test_c5_the_end_of_the_stream(pair):
    """C5: what was sent before close() arrives, then PeerGone; sending to nobody is PeerGone."""
    one, other = pair
    one.send(b"last")
    other.send(b"never read")
    one.close()

    assert other.receive(LOOK).body == b"last"
    with pytest.raises(PeerGone):
        other.receive(LOOK)
    with pytest.raises(PeerGone):
        other.send(b"x", timeout=LOOK)


def test_c6_too_large_on_both_sides():
    """C6: the sender refuses and goes on; a reader with a smaller limit dies of such a frame."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    one, other = Channel(near, 10), Channel(far, 9)
    with one, other:
        with pytest.raises(MessageTooLarge, match="11 bytes, max_frame is 10"):
            one.send(b"x" * 11)
        one.send(b"x" * 9)
        assert len(other.receive(0).body) == 9

        one.send(b"x" * 10)
        with pytest.raises(MessageTooLarge, match="10 bytes comes, max_frame is 9"):
            other.receive(0)
        with pytest.raises(ProtocolError, match="dead"):
            other.receive(0)
        with pytest.raises(PeerGone):
            one.receive(LOOK)
    with pytest.raises(ValueError, match="max_frame=-1"):
        Channel.pair(-1)


def test_c7_descriptors_are_the_receivers(pair):
    """C7: they refer to the same file, close on exec, come in order, and the sender keeps his."""
    one, other = pair
    read_end, write_end = os.pipe()
    many = [write_end] * 253
    one.send(b"two", fds=[read_end, write_end])
    one.send(b"none")
    one.send(BIG[:100_000], fds=many)

    got = other.receive(0)
    assert [os.fstat(fd).st_ino for fd in got.fds] == [os.fstat(read_end).st_ino] * 2
    assert not any(os.get_inheritable(fd) for fd in got.fds)
    assert other.receive(0).fds == ()
    rest = other.receive(0).fds
    assert len(rest) == 253
    os.write(got.fds[1], b"!")
    assert os.read(read_end, 1) == b"!"
    for fd in (*got.fds, *rest, read_end, write_end):
        os.close(fd)


def test_c7_wrong_descriptors_are_refused(pair):
    """C7: a closed descriptor, or too many, is an error; nothing arrives, the channel goes on."""
    one, other = pair
    with pytest.raises(SystemCallError, match="sendmsg: Bad file descriptor"):
        one.send(b"x", fds=[10_000])
    with pytest.raises(ValueError, match="254 descriptors"):
        one.send(b"x", fds=[2] * 254)
    with pytest.raises(TypeError):
        one.send(b"x", fds=["2"])

    one.send(b"fine")
    assert other.receive(0).body == b"fine"


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64])
def test_c8_nonsense_kills_the_channel(pair, junk):
    """C8: bytes that are no frame raise ProtocolError, then and ever after; the peer learns it."""
    one, other = pair
    with raw(one) as sock:
        sock.send(junk)

    for use in (other.receive, other.receive_nowait, lambda: other.send(b"x")):
        with pytest.raises(ProtocolError):
            use()
    assert "dead" in repr(other)
    with pytest.raises(PeerGone):
        one.receive(LOOK)


@pytest.mark.parametrize("count", [0, 2])
def test_c8_c9_the_wrong_number_of_descriptors(pair, count):
    """C8, C9: a frame whose descriptors do not agree with its head kills the channel, closed."""
    one, other = pair
    head = struct.pack("<IHBBQ", 0, 0, 1, 0xC5, 0) + b"E"
    with raw(one) as sock:
        socket.send_fds(sock, [head], [2] * count) if count else sock.send(head)

    with pytest.raises(ProtocolError, match=f"{count} descriptors came with a frame of 1"):
        other.receive(LOOK)


@pytest.mark.parametrize("end", ["close", "drop", "peer"])
def test_c9_descriptors_of_half_a_frame_are_closed(pair, end):
    """C9: descriptors that came with a frame which does not arrive are closed."""
    one, other = pair
    with pytest.raises(WaitTimeout):
        one.send(BIG, fds=[2, 2], timeout=0)
    before = len(open_descriptors())
    with pytest.raises(WaitTimeout):
        other.receive(0)
    assert len(open_descriptors()) == before + 2

    if end == "close":
        other.close()
        before -= 1
    elif end == "drop":
        one.send(b"")
        assert other.receive(0) == (0, 0, b"", ())
    else:
        one.close()
        before -= 1
        with pytest.raises(PeerGone):
            other.receive(0)
    assert len(open_descriptors()) == before


def test_c10_select_sees_every_frame(pair):
    """C10: fileno() is readable while there is a frame, however many were sent at once."""
    one, other = pair
    for ident in range(3):
        one.send(b"x" * ident, ident=ident)

    for ident in range(3):
        assert select.select([other], [], [], 0)[0] == [other]
        assert other.receive_nowait().ident == ident
    assert select.select([other], [], [], 0)[0] == []


def test_c12_signals_do_not_end_a_wait(pair):
    """C12: a handler that returns is waited through, with the time that is left."""
    one, other = pair
    seen = []
    old = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:

        def receive():
            with pytest.raises(WaitTimeout):
                one.receive(0.1)

        assert 0.1 <= soonest(receive) < 1
        seen.clear()
        thread = threading.Thread(target=lambda: until(lambda: len(seen) > 15) or other.send(b"x"))
        thread.start()
        assert one.receive(LOOK).body == b"x"
        thread.join(LOOK)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_c12_a_handler_that_raises(pair):
    """C12, C3: an exception out of a handler ends the wait; the frame never arrives."""
    one, other = pair
    waiter = os.getpid()

    def interrupt():
        # The socket is full and the sender sleeps: it is in poll(2), not in a system call of H2.
        until(lambda: unread(other) > 100_000 and state_of(waiter) == "S")
        os.kill(waiter, signal.SIGALRM)

    def stop(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, stop)
    try:
        with child(interrupt), pytest.raises(KeyboardInterrupt):
            one.send(BIG, timeout=LOOK)
    finally:
        signal.signal(signal.SIGALRM, old)
    with pytest.raises(WaitTimeout):
        other.receive(0)
    one.send(b"x", kind=1, timeout=LOOK)
    assert other.receive(LOOK) == Frame(1, 0, b"x", ())


def test_h2_struck_between_call_and_account(pair, monkeypatch):
    """H2: an exception between a system call and its account kills the channel, never mixes."""
    one, other = pair

    class Struck:
        def __init__(self, sock):
            self.sock = sock

        def send(self, *args):
            self.sock.send(*args)
            raise KeyboardInterrupt

        def __getattr__(self, name):
            return getattr(self.sock, name)

    monkeypatch.setattr(one, "_sock", Struck(one._sock))
    with pytest.raises(KeyboardInterrupt):
        one.send(BIG)
    with pytest.raises(ProtocolError, match="signal handler"):
        one.send(b"x")
    with pytest.raises(PeerGone):
        other.receive(LOOK)


def test_closed_is_closed(pair):
    """A closed end refuses everything with MisuseError; closing again does nothing."""
    one, _ = pair
    one.close()
    one.close()

    assert one.fileno() == -1
    assert "closed" in repr(one)
    for use in (lambda: one.send(b"x"), one.receive, one.receive_nowait):
        with pytest.raises(MisuseError, match="closed"):
            use()

"""What a channel does at the limits of the kernel and of a body: it waits, or names what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from deadlines import LOOK

from ipckit.channel import Channel

IN_FLIGHT = """
import asyncio, os, resource, select, socket, sys, threading
from time import monotonic
from ipckit import Channel, PeerGone, WaitTimeout

there, here = Channel.pair()
os.setresuid({uid}, {uid}, {uid})
limit = 20
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
for _ in range(3):
    try:
        while True:
            there.send(b"many", fds=[0] * 7, timeout=0)
    except WaitTimeout as why:
        text = str(why)
assert "in flight" in text and f"ulimit -n, {{limit}}" in text, text
begin = monotonic()
try:
    there.send(b"late", fds=[0], timeout=0.05)
except WaitTimeout:
    assert monotonic() - begin >= 0.05
    print("sync late")

async def late():
    try:
        await there.asend(b"late", fds=[0], timeout=0.05)
    except WaitTimeout as why:
        assert "in flight" in str(why)
        print("async late")

asyncio.run(late())

def take():
    while True:
        frame = here.receive()
        for fd in frame.fds:
            os.close(fd)
        if frame.body == b"last":
            return
        assert frame.body in (b"many", b"now", b"and in a loop"), frame

thread = threading.Thread(target=take)
thread.start()
there.send(b"now", fds=[0, 1], timeout={LOOK})
print("sync now")
asyncio.run(there.asend(b"and in a loop", fds=[0, 1], timeout={LOOK}))
print("async now")
there.send(b"last")
thread.join()
others, kept = Channel.pair()
try:
    while True:
        others.send(b"many", fds=[0] * 7, timeout=0)
except WaitTimeout:
    print("full again")
there_too, gone = Channel.pair()
gone.close()
try:
    there_too.send(b"x", fds=[0], timeout={LOOK})
except PeerGone:
    print("gone")
"""


@pytest.mark.needs_root
def test_c3_descriptors_over_the_limit_of_those_in_flight_are_waited_for():
    """F46: within the timeout, and the text names the limit; a peer that goes ends the wait."""
    uid = 3_000_000 + os.getpid()  # the limit is the user's: nobody else's count meets it
    done = subprocess.run(
        [sys.executable, "-c", IN_FLIGHT.format(uid=uid, LOOK=LOOK)],
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "sync late",
        "async late",
        "sync now",
        "async now",
        "full again",
        "gone",
    ]


@pytest.mark.parametrize("timeout", [None, 1])
def test_a_body_that_is_not_contiguous_is_named(timeout):
    one, other = Channel.pair()
    with one, other:
        with pytest.raises(TypeError, match=r"not contiguous.*bytes\(body\)"):
            one.send(memoryview(b"abcdef")[::2], timeout=timeout)
        one.send(memoryview(b"abcd").cast("H"))
        assert other.receive(10).body == b"abcd"

"""Signals of the manager and of its children: which end it, what others inherit, what comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from serving import LOOK

FOREGROUND = """
import signal
for number in (signal.SIGQUIT, signal.SIGHUP):  # a shell ignores some for what it starts with &
    signal.signal(number, signal.SIG_DFL)
"""

HELPER = (
    FOREGROUND
    + """
import json, subprocess

SHOW = "import json; print(json.dumps([l.split()[1] for l in open('/proc/self/status') if l[:3] == 'Sig']))"

@server.on("receive")
def receive(server, fd, reactor_id, data):
    asked = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, check=True)
    server.send(fd, asked.stdout)
"""
)
NAMES = ("SigQ", "SigPnd", "SigBlk", "SigIgn", "SigCgt")
OURS = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGTERM,
    signal.SIGCHLD,
)


def has(mask: str, number: int) -> bool:
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_f26_what_a_helper_of_a_callback_inherits(small):
    """F26: no signal that is ignored, and none that is blocked but by the caller of start()."""
    server = small(HELPER + "\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])")
    with server.connect() as client:
        client.sendall(b"show")
        state = dict(zip(NAMES, json.loads(client.recv(10_000)), strict=True))
    for number in OURS:
        assert not has(state["SigIgn"], number), signal.Signals(number).name
        assert not has(state["SigBlk"], number), signal.Signals(number).name
    assert has(state["SigBlk"], signal.SIGALRM), "the caller's mask"


def test_f26_the_caller_of_start_gets_back_what_it_had():
    """F26: mask, dispositions, wake-up descriptor."""
    code = """
    import os, signal, socket, ipckit
    server = ipckit.Server("127.0.0.1", 0)
    server.on("receive", print)
    server.on("start", lambda server: server.shutdown())
    mine = lambda *_: None
    signal.signal(signal.SIGUSR1, mine)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGALRM])
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    signal.set_wakeup_fd(ends[0].fileno())

    def state():
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return mask, [signal.getsignal(number) for number in range(1, 32)]

    before = state()
    server.start()
    assert state() == before
    assert signal.set_wakeup_fd(-1) == ends[0].fileno()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=LOOK)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"])
def test_each_of_these_ends_it_in_order(small, name):
    """S18: also when a terminal sends it to the whole group: the workers wait for the manager."""
    server = small(
        FOREGROUND
        + """
server.on("receive", print)
server.on("worker_stop", lambda server, worker_id: print("stopped in order", flush=True))
"""
    )
    if name != "SIGTERM":
        for pid in server.children():
            os.kill(pid, signal.Signals[name])
    server.process.send_signal(signal.Signals[name])
    out, err = server.process.communicate(timeout=LOOK)
    assert server.process.returncode == 0, err
    assert out.count(b"stopped in order") == 1


@pytest.mark.parametrize("name", ["SIGQUIT", "SIGHUP"])
def test_what_the_program_ignores_or_handles_is_left_to_it(small, name):
    """S18: nohup ignores SIGHUP."""
    server = small(
        f"""
import signal
signal.signal(signal.{name}, signal.SIG_IGN)
server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))
"""
    )
    server.process.send_signal(signal.Signals[name])
    with server.connect() as client:
        client.sendall(b"here")
        assert client.recv(10) == b"here"
    server.end()

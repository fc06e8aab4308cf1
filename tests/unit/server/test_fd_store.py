"""What the manager reads of a connection whose worker died: counts of one moment."""

from __future__ import annotations

import os
import signal
import socket

from ipckit.server.connections.fd_store import _is_whole

LOOKS = 600_000
"""Of 10,000,000 that read each count once, 160 were wrong."""


def test_s13_what_the_peer_sends_while_it_is_examined_does_not_make_it_look_half_read():
    """S13: bytes that come between two of the calls that read the kernel's counts."""
    with socket.create_server(("127.0.0.1", 0)) as port:
        ours = socket.create_connection(port.getsockname())
        taken, _ = port.accept()
    with ours, taken:
        pid = os.fork()
        if pid == 0:  # byte by byte, until there is no room any more
            ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                ours.send(b"x")
        try:
            assert all(_is_whole(taken.fileno(), 0, 0) for _ in range(LOOKS))
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert not _is_whole(taken.fileno(), 1, 0)
        assert not _is_whole(taken.fileno(), 0, 1)

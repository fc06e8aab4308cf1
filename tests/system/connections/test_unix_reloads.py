"""A server at a unix socket: its file stays through reloads, retirements and a kill.

P1: from Python 3.13 on an asyncio server removes the file of its socket when it closes. Workers call
accept(2) themselves, so a worker that leaves removes nothing.

In full (IPCKIT_SOAK=1): 20 reloads and 200 retirements; else a tenth of them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket

import pytest
from serving import LOOK, wait_for

RELOADS, RETIREMENTS = (20, 200) if os.environ.get("IPCKIT_SOAK") == "1" else (2, 20)

ANSWERS = """
@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send(fd, str(os.getpid()).encode())
"""


class Asked:
    """A client that makes a new connection for each question."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.inode = os.stat(path).st_ino
        self.pids: set[int] = set()

    def __call__(self) -> bytes:
        """Connect, which must succeed; return the answer, b"" if its worker died first."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(LOOK)
            client.connect(self.path)
            assert os.stat(self.path).st_ino == self.inode, "the file is another one"
            try:
                client.sendall(b"?")
                answer = client.recv(99)
            except (BrokenPipeError, ConnectionResetError):
                return b""
        if answer:
            self.pids.add(int(answer))
        return answer


def test_the_file_stays_through_reloads_retirements_and_a_kill(small, tmp_path):
    path = str(tmp_path / "socket")
    server = small(
        ANSWERS,
        "worker_num=2, max_request=5, max_request_grace=0, sock_type=ipckit.SockType.UNIX_STREAM, "
        f"runtime_dir={str(tmp_path / 'run')!r}",
        host=path,
    )
    ask = Asked(path)

    def answered(until) -> None:
        """Ask until then; each question has its answer."""

        def goes_on():
            assert ask(), "a connection was closed without an answer"
            return until()

        wait_for(goes_on)

    for _ in range(RELOADS):
        before = server.children()
        server.process.send_signal(signal.SIGUSR1)
        answered(lambda before=before: not before & server.children())
    for _ in range(RETIREMENTS):
        ask.pids.clear()
        answered(lambda: len(ask.pids) > 2)  # of two workers, so one of the three is a successor

    killed = server.children()
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):  # one that had retired just now
            os.kill(pid, signal.SIGKILL)

    def replaced():
        ask()
        return not killed & server.children()

    wait_for(replaced)
    answered(lambda: True)
    log = server.end()
    assert not os.path.exists(path), log


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_file_is_gone_after_each_kind_of_end(small, tmp_path, signum):
    path = str(tmp_path / "socket")
    server = small(ANSWERS, "sock_type=ipckit.SockType.UNIX_STREAM", host=path)
    assert Asked(path)()
    server.process.send_signal(signum)
    server.process.communicate(timeout=LOOK)
    assert server.process.returncode == 0 and not os.path.exists(path)

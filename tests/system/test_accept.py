"""Clients that come while their worker has no descriptor: they wait, and are served."""

from __future__ import annotations

import resource
import select

from serving import Small

ECHO = """
@server.on("receive")
def receive(server, fd, reactor_id, data):
    server.send(fd, data)
"""


def test_a_client_that_cannot_be_taken_waits_and_the_log_says_why(tmp_path):
    """P7: libuv closed those that waited, and no line of the log told of it."""
    log = tmp_path / "log"
    server = Small(ECHO, f"log_file={str(log)!r}, runtime_dir={str(tmp_path / 'run')!r}")
    try:
        (worker,) = server.children()
        before = server.connect()
        before.sendall(b"before")
        assert before.recv(100) == b"before"
        soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (0, hard))
        waiting = [server.connect() for _ in range(5)]
        for sock in waiting:
            sock.sendall(b"waits")
        server.wait_for(lambda: "accept failed: [Errno 24] Too many open files" in log.read_text())
        before.sendall(b"meanwhile")
        assert before.recv(100) == b"meanwhile"
        assert select.select(waiting, [], [], 0)[0] == []
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))
        for sock in waiting:
            assert sock.recv(100) == b"waits"
        for sock in (before, *waiting):
            sock.close()
    finally:
        server.end()
    assert log.read_text().count("accept failed") <= 12

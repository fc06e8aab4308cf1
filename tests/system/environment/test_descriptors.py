"""How many descriptors a server is reckoned to need, beside what it has."""

from __future__ import annotations

import os
import resource
import signal

import pytest
from serving import wait_for

MUCH = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))
server.on("task", print)

def user(server):
    import signal
    while True:
        signal.pause()

for _ in range({users}):
    server.add_process(user)
"""

CONNECTIONS = 100


def opened(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def most(small, users: int, **settings: int) -> tuple[int, int, int]:
    """Return how many descriptors the manager, and the worker with the most of them, have at most,
    during a reload; and how many are reckoned beside the connections: the soft limit is raised to
    what is reckoned.
    """
    changes = {**settings, "max_connection": CONNECTIONS}
    server = small(MUCH.format(users=users), ", ".join(f"{n}={v}" for n, v in changes.items()))
    number = sum(settings.values()) + users
    wait_for(lambda: len(server.children()) == number)
    first = server.children()
    reckoned = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)[0] - CONNECTIONS
    found = opened(server.process.pid), max(map(opened, server.children()))
    server.process.send_signal(signal.SIGUSR1)

    def over() -> bool:
        nonlocal found
        found = max(found[0], opened(server.process.pid)), found[1]
        return len(server.children() - first) == number - users

    wait_for(over)
    server.end()
    return *found, reckoned


@pytest.mark.parametrize("task_workers", [(0, 0), (2, 6)], ids=["no tasks", "tasks"])
def test_f5_what_each_process_costs(small, task_workers):
    """F5: measured: what more processes cost is reckoned, and not twice."""
    few = most(small, 1, worker_num=2, task_worker_num=task_workers[0])
    many = most(small, 3, worker_num=14, task_worker_num=task_workers[1])
    manager, worker, reckoned = (after - before for before, after in zip(few, many, strict=True))
    assert manager <= reckoned and worker <= reckoned
    assert manager >= reckoned // 2
    assert few[0] < few[2] / 2 and few[1] < few[2] / 2, "there is room for callbacks"


def test_f5_a_reload_with_as_many_clients_as_are_allowed(small):
    """F5: the soft limit is raised to what is reckoned, and that is enough for a reload, beside
    what the program has open.
    """
    server = small(
        """
import resource
files = [open(os.devnull) for _ in range(80)]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
server.on("receive", lambda server, fd, reactor_id, data: server.send(fd, data))
server.on("task", print)
""",
        "worker_num=20, task_worker_num=2, max_connection=100",
    )
    first = server.children()
    limit = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)[0]
    assert limit >= 256
    clients = [server.connect() for _ in range(100)]
    try:
        for client in clients:
            client.sendall(b"here")
            assert client.recv(10) == b"here"
        server.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: len(server.children() - first) == 22 and not server.children() & first)
        for client in clients:
            client.sendall(b"there")
            assert client.recv(10) == b"there"
    finally:
        for client in clients:
            client.close()
    assert "Too many open files" not in server.end()

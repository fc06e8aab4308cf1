"""Numbers that the server and its clients share: kinds of sockets, roads of tasks.

Contract  the values are public and never change; the names are Swoole's.
Stands on nothing of ipckit (tier T0), so that a client need not load the server.
"""

from __future__ import annotations

import enum

__all__ = ["ANY_TASK_WORKER", "SockType", "TaskIPC"]

# The queue's message type of a task for any task worker. A task worker has the type id + 1, and
# no server has 2**31 - 2 of them, so the two never meet. In modes 2 and 3 whichever task worker
# is idle takes such a message.
ANY_TASK_WORKER = 2**31 - 1


class SockType(enum.IntEnum):
    """What a port listens on and a client connects to."""

    TCP = 1
    UDP = 2
    TCP6 = 3
    UDP6 = 4
    UNIX_STREAM = 5
    UNIX_DGRAM = 6


class TaskIPC(enum.IntEnum):
    """How tasks reach the task workers (the setting `task_ipc_mode`)."""

    UNIX_SOCKET = 1
    QUEUE = 2
    QUEUE_CONTENDED = 3

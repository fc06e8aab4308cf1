"""The server: workers for clients, task workers for slow work, one manager above them.

Processes     manager.py (forks, waits, replaces) > worker.py (clients, tasks) and task_worker.py
Deciding      settings, events, fleet, attempts, wire: pure, no I/O
Shared        board.py (words all processes change), inbox.py (how they talk), ledger.py (tasks)
"""

from ipckit.kinds import SockType, TaskIPC
from ipckit.server.server import Server

__all__ = ["Server", "SockType", "TaskIPC"]

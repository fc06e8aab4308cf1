"""The server: workers for clients, task workers for slow work, one manager above them.

Its rooms, each of which imports from those below it only (import-linter holds that):

    api                                 what a program calls
    supervision                         the manager
    processes                           worker, task worker, user process
    connections | tasks | monitoring    one client; one task; the server seen from outside
    messaging | ports | rundir          frames; addresses; files of a run
    shared | config                     words in shared memory; settings and events
    system                              the kernel: fork, signals, what a refusal means
    log
"""

from ipckit.kinds import SockType, TaskIPC
from ipckit.server.api.server import Server

__all__ = ["Server", "SockType", "TaskIPC"]

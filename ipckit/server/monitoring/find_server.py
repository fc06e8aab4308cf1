"""Which running server is meant: from what an operator has at hand to the pid of its manager.

Contract  without a path the only server of the runtime directory is meant. What changes a server
          (`here`) wants it to be of the working directory as well: there may be one of another
          project, and ours may not run.

Stands on unix(7) SO_PEERCRED, which names the listening process without an answer from it, so
a manager that is stopped is found as well; ipckit.server.monitoring.control_socket.
Blocks    never.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import struct

from ipckit.errors import NotFound
from ipckit.server.monitoring.control_socket import live_sockets
from ipckit.server.rundir.runtime_dir import runtime_directory

__all__ = ["manager_pid", "only_server"]

_OF_CONTROL = re.compile(r"control-([1-9][0-9]*)(?:-[0-9a-f]+)?\.sock")


def manager_pid(path: str | None) -> int:
    """Return the pid of a server's manager.

    `path`: its control socket, its pid file, or its runtime directory if it is alone there; None:
    the only server with a control socket in the runtime directory of our user. NotFound.
    """
    path = runtime_directory(None) if path is None else path
    try:
        kind = os.stat(path).st_mode
    except OSError as exc:
        text = f"{path}: {exc.strerror}: give a server's control socket or pid file"
        raise NotFound(exc.errno or errno.ENOENT, text) from None
    if stat.S_ISDIR(kind):
        return manager_pid(only_server(path))
    return _listener_of(path) if stat.S_ISSOCK(kind) else _written_in(path)


def only_server(directory: str, *, here: bool = False) -> str:
    """Return the control socket of the only server of a runtime directory.

    `here`: only if its manager's working directory is ours. NotFound: there is none, or there are
    several; the text names them.
    """
    found = live_sockets(directory) if os.path.isdir(directory) else []
    if not found:
        raise NotFound(
            errno.ENOENT,
            f"no server runs with a control socket in {directory}: give its path, or a pid file's",
        )
    if len(found) > 1:
        several = ", ".join(map(_in_words, found))
        raise NotFound(errno.ENOENT, f"{len(found)} servers run, say which: {several}")
    if here and _folder_of(found[0]) != os.getcwd():
        raise NotFound(
            errno.ENOENT,
            f"the server that runs is not of this directory: {_in_words(found[0])}; if it is "
            f"meant, give its path",
        )
    return found[0]


def _folder_of(path: str) -> str | None:
    """Return the working directory of a server's manager; None: it cannot be seen."""
    try:
        return os.readlink(f"/proc/{_listener_of(path)}/cwd")
    except OSError:
        return None


def _in_words(path: str) -> str:
    folder = _folder_of(path)
    return path if folder is None else f"{path} (of {folder})"


def _listener_of(path: str) -> int:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        try:
            sock.connect(path)
        except BlockingIOError:  # a stopped manager takes nobody out of its backlog
            if named := _OF_CONTROL.fullmatch(os.path.basename(path)):
                return int(named[1])
            text = f"{path}: its manager answers nobody: give its pid file"
            raise NotFound(errno.EAGAIN, text) from None
        except OSError as exc:
            text = f"{path}: {exc.strerror}: no server answers there"
            raise NotFound(exc.errno or errno.ECONNREFUSED, text) from None
        found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid: int = struct.unpack("3i", found)[0]
        if pid == 0:
            raise NotFound(
                errno.ESRCH,
                f"{path}: its manager is in another pid namespace, whose processes cannot be seen "
                f"from here: look from inside its container, or from the host; `ipckit status "
                f"{path}` works here too",
            )
        return pid


def _written_in(path: str) -> int:
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read(32).strip()
    if not text.isdecimal():
        raise NotFound(errno.EINVAL, f"{path}: a pid file has one number, not {text!r}")
    return int(text)

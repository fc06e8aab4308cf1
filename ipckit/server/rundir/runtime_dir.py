"""The runtime directory: where the files of running servers are, and how those files are named.

Contract  a directory that private_directory() returns belongs to this user (or to a user that the
          caller names) and is closed to others, so that what is in it can be trusted.
Stands on mkdir(2), lstat(2), the XDG base directory specification.
"""

from __future__ import annotations

import errno
import os
import stat

from ipckit.errors import AccessDenied, from_errno
from ipckit.server.system.acquire import system_call

__all__ = [
    "LEDGER_PREFIX",
    "LETTERS",
    "SPILL_PREFIX",
    "private_directory",
    "runtime_directories",
    "runtime_directory",
]

SPILL_PREFIX = "spill-"
"""How the directory of a server whose ledger has no name begins."""


LEDGER_PREFIX = "ledger-"
"""How the directory of a ledger with a name begins."""


LETTERS = "letters"
"""How the names of the dead letters' files begin, where they have no path of their own."""


def runtime_directory(setting: str | os.PathLike[str] | None) -> str:
    """Return the directory for run-time files: the setting, or the one of our user."""
    if setting is not None:
        return os.path.abspath(os.fspath(setting))
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and os.path.isabs(session) and os.path.isdir(session):
        return os.path.join(session, "ipckit")
    return "/run/ipckit" if os.geteuid() == 0 else f"/var/tmp/ipckit-{os.geteuid()}"  # noqa: S108  (private_directory checks)


def runtime_directories() -> list[str]:
    """Return every runtime directory that a server of our user may have got without a setting.

    The environment of a server that cron or systemd started is another one than a shell's.
    """
    uid = os.geteuid()
    there = [f"/run/user/{uid}/ipckit", f"/var/tmp/ipckit-{uid}"]  # noqa: S108  (as above)
    if uid == 0:
        there.append("/run/ipckit")
    return list(dict.fromkeys([runtime_directory(None), *filter(os.path.isdir, there)]))


def private_directory(path: str, *also: int) -> str:
    """Make `path` if it is missing (0700) and return it.

    Raises AccessDenied when it is another user's (and not of `also`), no directory, or open
    to others: nothing in it could be trusted. SystemCallError when it cannot be made.
    """
    try:
        os.makedirs(path, mode=0o700)
    except FileExistsError:
        pass
    except OSError as exc:
        raise from_errno(
            "mkdir",
            exc.errno or errno.EIO,
            f"{path} cannot be made; choose another with runtime_dir or task_tmpdir",
        ) from None
    with system_call("stat", path):
        found = os.lstat(path)
    ours = found.st_uid in (os.geteuid(), *also)
    if not stat.S_ISDIR(found.st_mode) or not ours or found.st_mode & 0o077:
        raise AccessDenied(
            13,
            f"{path} must be a directory of user {os.geteuid()} with mode 0700 (it is of user "
            f"{found.st_uid}, mode {stat.S_IMODE(found.st_mode):#o}); mend it, or choose another "
            f"with runtime_dir or task_tmpdir",
        )
    return path

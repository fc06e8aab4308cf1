"""The user and group that workers become.

Contract  resolved in the manager before any process is made; a child assumes it before any of the
          user's code runs in it, and cannot go back.
Stands on setuid(2), initgroups(3), the pwd and grp databases.
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from ipckit.errors import SettingsError, system_call

__all__ = ["Identity", "group_id", "is_ours", "resolve", "user_id"]


def user_id(user: str | int) -> int | None:
    """Return the number of a user; None: there is no such name."""
    if isinstance(user, int):
        return user
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def group_id(group: str | int) -> int | None:
    """Return the number of a group; None: there is no such name."""
    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, its group, and its name if it has one."""

    uid: int
    gid: int
    name: str | None

    def assume(self) -> None:
        """Become it, for good. Raises SystemCallError: the kernel refuses it to root."""
        if (os.geteuid(), os.getegid()) == (self.uid, self.gid):
            return
        what = f"to become user {self.uid}, group {self.gid}"
        remedy = "it takes CAP_SETUID and CAP_SETGID (docker run --cap-add SETUID --cap-add SETGID)"
        if self.name is None:
            with system_call("setgroups", what, remedy):
                os.setgroups([self.gid])
        else:
            with system_call("initgroups", what, remedy):
                os.initgroups(self.name, self.gid)
        with system_call("setgid", what, remedy):
            os.setgid(self.gid)
        with system_call("setuid", what, remedy):
            os.setuid(self.uid)


def is_ours(uid: int, identity: Identity | None) -> bool:
    """Whether what belongs to that user is ours, or our workers'."""
    return uid == os.geteuid() or (identity is not None and uid == identity.uid)


def resolve(user: str | int | None, group: str | int | None) -> Identity | None:
    """Return the user and group of the workers; None: those of this process.

    Raises SettingsError: only root can become another.
    """
    if user is None and group is None:
        return None
    uid = os.geteuid() if user is None else user_id(user)
    assert uid is not None, "the settings know it"
    try:
        entry = pwd.getpwuid(uid)
        gid, name = entry.pw_gid, entry.pw_name
    except KeyError:
        gid, name = os.getegid(), None
    if group is not None:
        gid = group_id(group) or 0
    if os.geteuid() != 0 and (uid, gid) != (os.geteuid(), os.getegid()):
        raise SettingsError(
            f"user={user!r}, group={group!r}: only root can make workers of another user; we are "
            f"user {os.geteuid()}, group {os.getegid()}"
        )
    return Identity(uid, gid, name)

"""`ipckit ls`: the inter-process objects of this machine, whose they are, and whether used."""

from __future__ import annotations

import argparse
import json
import pwd
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ipckit.cli.answers import add_command

if TYPE_CHECKING:
    from ipckit.cli.inventory.entry import Entry

__all__ = ["add_to", "directories_of", "print_entries"]

_TEXT = """\
Lists System V queues, segments and semaphores, POSIX queues, files of shared memory, and what
servers have in their runtime directories. ipckit's own objects come first.

  used    a live server's, or a live process has it or was its last user
  leaked  of a dead server; nobody will take it up: `ipckit rm --leaked` frees it
  kept    of a dead server, left on purpose (a task_ledger, a queue with a message_queue_key, a
          table with a name) for the next one with that name: `ipckit rm --leaked --kept` frees it
  idle    no live process uses it, and no dead server is known to have made it
"""


def add_to(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add `ls` to the command line."""
    parser = add_command(
        subparsers,
        common,
        "ls",
        help="queues, shared memory, tables: whose, how large, used or leaked",
        description=_TEXT,
        example="ipckit ls --json | jq '.objects[] | select(.verdict == \"leaked\")'",
    )
    add_runtime_dir(parser)
    parser.set_defaults(run=_ls)


def add_runtime_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where to look for run records."""
    parser.add_argument(
        "--runtime-dir",
        metavar="DIR",
        help="the servers' runtime_dir; without it: all where our servers may be by default",
    )


def directories_of(options: argparse.Namespace) -> Sequence[str]:
    """Return the runtime directories to look into."""
    from ipckit.server.rundir.runtime_dir import (  # noqa: PLC0415 - others start without it
        runtime_directories,
        runtime_directory,
    )

    asked = options.runtime_dir
    return runtime_directories() if asked is None else [runtime_directory(asked)]


def _ls(options: argparse.Namespace) -> int:
    from ipckit.cli.inventory.collect import collect  # noqa: PLC0415 - others start without it

    found = collect(directories_of(options))
    if options.json:
        objects = [entry.form() for entry in found.entries]
        print(json.dumps({"objects": objects, "notes": found.notes}))
        return 0
    ours = [each for each in found.entries if each.ours]
    others = [each for each in found.entries if not each.ours]
    for title, entries in (("ipckit's", ours), ("of others, or made without a server", others)):
        if entries:
            print(f"{title}:")
            print_entries(entries)
    if not found.entries:
        print("there are no such objects")
    where = "" if options.runtime_dir is None else f" --runtime-dir {options.runtime_dir}"
    for verdict, option in (("leaked", ""), ("kept", " --kept")):
        count = sum(each.verdict == verdict for each in ours)
        if count:
            print(f"{count} {verdict}; to free that: ipckit rm --leaked{option}{where}")
    for note in found.notes:
        print(f"note: {note}")
    return 0


def print_entries(entries: Sequence[Entry], *, file: Any = None) -> None:
    """Print one line for each, in columns with a head."""
    lines = [("  NAME", "VERDICT", "OWNER", "SIZE", "USERS", "WHAT IT IS")]
    lines += [
        (
            f"  {each.name}",
            each.verdict,
            _user(each.owner),
            "" if each.size is None else f"{each.size:,} B",
            _users(each),
            f"{each.kind}{', ' if each.content else ''}{each.content}",
        )
        for each in entries
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, verdict, owner, size, users, about in lines:
        print(
            f"{name:{widths[0]}}  {verdict:{widths[1]}}  {owner:{widths[2]}}  {size:>{widths[3]}}  "
            f"{users:{widths[4]}}  {about}".rstrip(),
            file=file,
        )


def _users(entry: Entry) -> str:
    words = [str(pid) for pid in entry.users[:4]]
    words += [f"+{len(entry.users) - 4}"] if len(entry.users) > 4 else []
    words += [f"{pid} dead" for pid in entry.gone]
    if entry.manager is not None and entry.manager not in entry.users:
        words.append(f"server {entry.manager}{'' if entry.verdict == 'used' else ' dead'}")
    return ", ".join(words) or "-"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)

"""`ipckit rm`: remove what killed servers left, or objects that are named one by one."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from ipckit.cli.answers import CommandFailed, WrongUse, add_command, completed_by
from ipckit.cli.ls import add_runtime_dir, directories_of, print_entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipckit.cli.inventory.entry import Entry

__all__ = ["add_to"]

_TEXT = """\
With --leaked: removes what `ipckit ls` calls leaked, the queues, directories, sockets and pid files
of servers that were killed with all their processes, as their run records name them. What belongs
to a live server, to somebody else, or is kept on purpose (a task_ledger, a queue with a key, a
table with a name) is left alone; --kept takes what dead servers kept as well.
The next server in the same runtime directory removes what is leaked at its start.

With names, as `ipckit ls` prints them: removes just those, whoever made them, but nothing that a
live server has. A short form such as 7 or visits will do if it means one object only.

It asks first: the line "y" or "yes" on the standard input is consent, the end of input is none.
"""


def add_to(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add `rm` to the command line."""
    parser = add_command(
        subparsers,
        common,
        "rm",
        help="remove what killed servers left, or what is named",
        description=_TEXT,
        example="ipckit rm --leaked --yes\n  ipckit rm queue:32769 table:visits",
    )
    name = parser.add_argument(
        "name", metavar="NAME", nargs="*", help="an object, as `ls` names it"
    )
    completed_by(name, _names)
    parser.add_argument("--leaked", action="store_true", help="what dead servers left")
    parser.add_argument("--kept", action="store_true", help="what they kept on purpose, too")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_runtime_dir(parser)
    parser.set_defaults(run=_rm)


def _names(options: argparse.Namespace) -> list[str]:
    from ipckit.cli.inventory.collect import collect  # noqa: PLC0415 - others start without it

    return [each.name for each in collect(directories_of(options)).entries]


def _rm(options: argparse.Namespace) -> int:
    from ipckit.cli.inventory.collect import collect, remove  # noqa: PLC0415 - others start without

    if bool(options.name) == options.leaked:
        raise WrongUse("say what: either --leaked, or names as `ipckit ls` prints them")
    if options.kept and not options.leaked:
        raise WrongUse("--kept belongs to --leaked")
    found = collect(directories_of(options))
    chosen = _chosen(options, found.entries)
    if chosen and not options.yes:
        print_entries(chosen, file=sys.stderr)
        print(f"remove these {len(chosen)}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandFailed("nothing was removed")
    removed = remove(chosen, found.directories)
    stays = [each.name for each in chosen if each.name not in removed]
    if options.json:
        print(json.dumps({"removed": removed, "gone_before": stays}))
        return 0
    for name in removed:
        print(f"removed {name}")
    for name in stays:
        print(f"{name} was gone before")
    if not chosen:
        print(f"nothing is left of dead servers in {' '.join(found.directories)}")
    return 0


def _chosen(options: argparse.Namespace, entries: Sequence[Entry]) -> list[Entry]:
    """Return what is to be removed; CommandFailed, NotFound: nothing is."""
    from ipckit.cli.inventory.entry import KEPT, LEAKED, USED, find  # noqa: PLC0415 - as above

    if options.leaked:
        verdicts = (LEAKED, KEPT) if options.kept else (LEAKED,)
        return [each for each in entries if each.verdict in verdicts]
    chosen = [find(name, entries) for name in dict.fromkeys(options.name)]
    for each in chosen:
        if each.ours and each.verdict == USED:
            who = each.manager if each.manager is not None else ", ".join(map(str, each.users))
            raise CommandFailed(
                f"{each.name} is used by process {who}: stop it first; nothing was removed"
            )
    return list({each.name: each for each in chosen}.values())

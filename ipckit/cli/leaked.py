"""`ipckit rm --leaked`: remove what servers left that were killed whole."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from ipckit.cli.answers import CommandFailed

__all__ = ["add_to"]


def add_to(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add `rm` to the command line."""
    parser = subparsers.add_parser(
        "rm",
        parents=[common],
        help="remove what killed servers left",
        description="Removes the queues, directories and pid files of servers that were killed "
        "with all their processes, as their run records name them. What belongs to a live server, "
        "to another user, or is kept on purpose (a task_ledger, a queue with a key) is left alone. "
        "The next server in the same runtime directory does the same at its start.",
    )
    parser.add_argument("--leaked", action="store_true", required=True, help="what dead runs left")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--runtime-dir", metavar="DIR", help="as the server's runtime_dir")
    parser.set_defaults(run=_rm)


def _rm(options: argparse.Namespace) -> int:
    from ipckit.server.run_record import dead_runs, sweep  # noqa: PLC0415 - others start without
    from ipckit.server.spill import runtime_directory  # noqa: PLC0415

    directory = runtime_directory(options.runtime_dir)
    things = [thing for _, named in dead_runs(directory) for thing in named]
    if things and not options.yes:
        for thing in things:
            print(_told(thing), file=sys.stderr)
        print(f"remove these {len(things)}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandFailed("nothing was removed")
    removed = sweep(directory)
    if options.json:
        print(json.dumps({"removed": removed}))
    else:
        for each in removed:
            print(f"removed {each}")
        if not removed:
            print(f"nothing is left of dead servers in {directory}")
    return 0


def _told(thing: dict[str, Any]) -> str:
    for kind in ("queue", "directory", "pid_file"):
        if kind in thing:
            return f"  {kind} {thing[kind]}"
    return f"  {thing}"

"""`ipckit dead`: the tasks that a server gave up: look at them, have them tried again, forget them.

FILE is the server's `dead_letter_path`. On a terminal `show` cuts what is long, and says so; in a
file or a pipe, and with --full, it is whole. A running server takes up what is to be tried again
within a second; else the next one with that path does.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import time
from collections import defaultdict
from typing import Any

from ipckit.cli.answers import CommandFailed, add_command

__all__ = ["add_to"]

_SHOWN_IDS = 8
"""How many letters of a group are named in the list."""

_SHOWN_CHARACTERS = 4000
"""Of a text that `show` prints on a terminal."""


def add_to(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add `dead` and its own subcommands to the command line."""
    parser = subparsers.add_parser(
        "dead",
        help="tasks that were given up: ls, show, retry, rm",
        description=__doc__,
        epilog="example:\n  ipckit dead ls letters.sqlite",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="what to do", dest="verb", required=True, metavar="VERB")
    for name, run, text, example in (
        ("ls", _ls, "list them, grouped by error, the commonest first", ""),
        ("show", _show, "one with its data and every attempt", " 17"),
        ("retry", _retry, "have them tried again, with all their attempts, as new tasks", " --all"),
        ("rm", _rm, "forget them", " 17 18"),
    ):
        whole = f"ipckit dead {name} letters.sqlite{example}"
        verb = add_command(verbs, common, name, help=text, description=text, example=whole)
        verb.add_argument("file", metavar="FILE", help="the server's dead_letter_path")
        verb.set_defaults(run=run)
        if name == "show":
            verb.add_argument("id", metavar="ID", type=int)
            verb.add_argument("--full", action="store_true", help="cut nothing on a terminal")
        elif name != "ls":
            which = verb.add_mutually_exclusive_group(required=True)
            which.add_argument("id", metavar="ID", type=int, nargs="*", default=[])
            which.add_argument("--error", metavar="TEXT", help="all whose last error is this one")
            which.add_argument("--all", action="store_true", help="all there are")


def _opened(options: argparse.Namespace) -> Any:
    """Return the letters of a file that is there."""
    from ipckit.server.tasks.dead_letters import DeadLetters  # noqa: PLC0415 - others start without it

    if not os.path.exists(options.file):
        raise CommandFailed(f"there is no file {options.file}: give the server's dead_letter_path")
    return DeadLetters(os.path.abspath(options.file))


def _asked(run: Any) -> Any:
    """Wrap a verb: a file that is no database is an error of one line."""

    def told(options: argparse.Namespace) -> int:
        try:
            return int(run(options))
        except sqlite3.Error as why:
            raise CommandFailed(f"{options.file}: {why}; give the dead_letter_path") from None

    return told


@_asked
def _ls(options: argparse.Namespace) -> int:
    groups: defaultdict[str, list[Any]] = defaultdict(list)
    for letter in _opened(options):
        groups[letter.error].append(letter)
    ordered = sorted(groups.items(), key=lambda each: -len(each[1]))
    if options.json:
        form = [
            {
                "error": error,
                "count": len(letters),
                "newest": max(letter.buried_at for letter in letters),
                "ids": [letter.id for letter in letters],
            }
            for error, letters in ordered
        ]
        print(json.dumps(form))
        return 0
    if ordered and sys.stdout.isatty():
        print(f"{'count':>6} {'the newest':19}  error, and below it the ids")
    for error, letters in ordered:
        ids = [str(letter.id) for letter in letters[:_SHOWN_IDS]]
        more = ["..."] if len(letters) > _SHOWN_IDS else []
        print(f"{len(letters):6} {_clock(max(each.buried_at for each in letters))}  {error}")
        print(f"{'':6} {' '.join([*ids, *more])}")
    if not ordered:
        print("no dead letters")
    return 0


@_asked
def _show(options: argparse.Namespace) -> int:
    letter = _opened(options)[options.id]
    try:
        data = repr(letter.data)
    except Exception as why:  # its types may not be importable here: the bytes are
        data = f"cannot be read here ({type(why).__name__}: {why}): {letter.body!r}"
    if options.json:
        form = {
            "id": letter.id,
            "task_id": letter.task_id,
            "src_worker_id": letter.src_worker_id,
            "dst": letter.dst,
            "created_at": letter.created_at,
            "buried_at": letter.buried_at,
            "attempts": [attempt.to_json() for attempt in letter.attempts],
            "data": data,
        }
        print(json.dumps(form))
        return 0
    source = f"worker {letter.src_worker_id}" if letter.src_worker_id >= 0 else "another program"
    print(f"letter {letter.id}: task {letter.task_id} of {source}, for task worker {letter.dst}")
    print(f"asked for {_clock(letter.created_at)}, given up {_clock(letter.buried_at)}")
    whole = options.full or not sys.stdout.isatty()
    print(f"data: {_cut(data, whole=whole)}")
    for number, attempt in enumerate(letter.attempts, 1):
        print(f"\nattempt {number}, {_clock(attempt.at)}: {_cut(attempt.error, whole=whole)}")
        if attempt.traceback:
            print(_cut(attempt.traceback.rstrip(), whole=whole))
    return 0


@_asked
def _retry(options: argparse.Namespace) -> int:
    letters = _opened(options)
    return _each(options, letters, letters.retry, "to be tried again")


@_asked
def _rm(options: argparse.Namespace) -> int:
    letters = _opened(options)
    return _each(options, letters, letters.remove, "removed")


def _each(options: argparse.Namespace, letters: Any, act: Any, done: str) -> int:
    ids = list(dict.fromkeys(options.id)) or [
        letter.id for letter in letters if options.all or letter.error == options.error
    ]
    for each in ids:
        letters[each]  # NotFound, before anything is changed
    for each in ids:
        act(each)
    print(json.dumps({"ids": ids}) if options.json else f"{len(ids)} {done}")
    return 0 if ids else 1


def _cut(text: str, *, whole: bool) -> str:
    """Return the text as a terminal can take it: its beginning and its end, and what is missing."""
    left = len(text) - _SHOWN_CHARACTERS
    if whole or left <= 0:
        return text
    half = _SHOWN_CHARACTERS // 2
    return f"{text[:half]}\n[{left:,} characters are left out: --full shows them]\n{text[-half:]}"


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))

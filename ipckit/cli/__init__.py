"""The `ipckit` command. Each subcommand is a module with `add_to(subparsers, common)`.

Exit codes  0 done, 1 the answer is no or something is wrong, 2 wrong use.
With --json stdout has one JSON document in every case; why not is its "error".
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from ipckit.cli import control, dead, demo, leaked, metrics, top
from ipckit.cli.answers import CommandFailed, common_options
from ipckit.errors import IPCError

__all__ = ["main"]

_COMMANDS = (demo, control, top, metrics, dead, leaked)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code. argparse itself exits with 2 on wrong use."""
    options = _parser().parse_args(argv)
    try:
        try:
            code = int(options.run(options))
        except (CommandFailed, IPCError, OSError) as why:
            if isinstance(why, BrokenPipeError):
                raise
            code = _say_no(options, str(why))
        except KeyboardInterrupt:
            code = _say_no(options, "interrupted")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone; the interpreter would flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ipckit", description="Python processes on one Linux machine, working together."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    subparsers = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )
    common = common_options()
    for command in _COMMANDS:
        command.add_to(subparsers, common)
    return parser


class _Version(argparse.Action):
    """As argparse's own, but the version is looked up only when asked for: that is slow."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from ipckit import __version__  # noqa: PLC0415  (see above)

        print(f"ipckit {__version__}")
        parser.exit()


def _say_no(options: argparse.Namespace, why: str) -> int:
    print(f"ipckit {options.command}: {why}", file=sys.stderr)
    if options.json:
        print(json.dumps({"error": why}))
    return 1

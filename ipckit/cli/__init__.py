"""The `ipckit` command. Each subcommand is a module with `add_to(subparsers)` and `run(options)`.

Exit codes  0 done, 1 the answer is no or something is wrong, 2 wrong use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ipckit.cli import demo

__all__ = ["main"]

_COMMANDS = (demo,)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code. argparse itself exits with 2 on wrong use."""
    parser = argparse.ArgumentParser(
        prog="ipckit", description="Python processes on one Linux machine, working together."
    )
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_to(subparsers)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("ipckit: interrupted", file=sys.stderr)
        return 1

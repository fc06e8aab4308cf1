"""The `ipckit` command. Each subcommand is a module with `add_to(subparsers, common)`.

Exit codes  0 done, 1 the answer is no or something is wrong, 2 wrong use.
With --json stdout has one JSON document in every case; why not is its "error".
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ipckit.cli import (
    completion,
    control,
    dead,
    doctor,
    limits,
    ls,
    metrics,
    rm,
    run,
    top,
)
from ipckit.cli.answers import CommandFailed, WrongUse, common_options
from ipckit.cli.bench import command as bench_command
from ipckit.cli.demo import command as demo_command
from ipckit.errors import IPCError

__all__ = ["main", "parser"]

_COMMANDS = (
    demo_command,
    run,
    control,
    top,
    metrics,
    dead,
    ls,
    rm,
    limits,
    doctor,
    bench_command,
    completion,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code. argparse itself exits with 2 on wrong use."""
    words = sys.argv[1:] if argv is None else list(argv)
    _print_any_text()
    _Parser.json = "--json" in words
    whole = parser()
    completion.answer(whole)
    options = whole.parse_args(words)
    try:
        try:
            code = int(options.run(options))
        except (CommandFailed, WrongUse, IPCError, OSError) as why:
            if isinstance(why, BrokenPipeError):
                raise
            code = _say_no(options, str(why), 2 if isinstance(why, WrongUse) else 1)
        except ImportError as why:  # half an installation, or another one's files
            code = _say_no(options, f"{why}: see `ipckit doctor`", 1)
        except KeyboardInterrupt:
            code = _say_no(options, "interrupted", 1)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone; the interpreter would flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _print_any_text() -> None:
    """Have stdout escape what its encoding lacks, as stderr does: a name that is no UTF-8."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


class _Parser(argparse.ArgumentParser):
    """As argparse's own, but wrong use is a JSON document too where one was asked for."""

    json = False

    def error(self, message: str) -> NoReturn:
        if self.json:
            print(json.dumps({"error": message}))
        super().error(message)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = _Parser(
        prog="ipckit",
        description="Python processes on one Linux machine, working together.",
        epilog="`ipckit COMMAND --help` says more of one, with an example.",
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version")
    subparsers = top.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )
    common = common_options()
    for command in _COMMANDS:
        command.add_to(subparsers, common)
    return top


class _Version(argparse.Action):
    """As argparse's own, but the version is looked up only when asked for: that is slow."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from ipckit import __version__  # noqa: PLC0415  (see above)

        print(f"ipckit {__version__}")
        parser.exit()


def _say_no(options: argparse.Namespace, why: str, code: int) -> int:
    with contextlib.suppress(OSError):  # stderr is a file on a full disk: the code says it
        print(f"ipckit {options.command}: {why}", file=sys.stderr)
    if options.json:
        print(json.dumps({"error": why}))
    return code

"""What commands have in common: how one says no, its options, its help."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["CommandFailed", "WrongUse", "add_command", "common_options", "completed_by"]


class CommandFailed(Exception):
    """The command cannot do it; its text says why. Exit code 1."""


class WrongUse(Exception):
    """The arguments do not go together; its text says how they would. Exit code 2."""


def common_options() -> argparse.ArgumentParser:
    """Return the options of every command, as a parent of its parser."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON document and no more")
    return common


def add_command(
    subparsers: Any,
    common: argparse.ArgumentParser,
    name: str,
    *,
    help: str,  # noqa: A002  (argparse's word)
    description: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add one command, or one verb of a command, with an example below its options; return it."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        parents=[common],
        help=help,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def port_from(least: int) -> Callable[[str], int]:
    """Return what takes an argument for a TCP port, of `least`..65535."""

    def port(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= 65535:
            raise argparse.ArgumentTypeError(f"{text!r}: must be {least}..65535")
        return int(text)

    return port


def completed_by(
    action: argparse.Action, names: Callable[[argparse.Namespace], Iterable[str]]
) -> None:
    """Have a shell complete an argument from these names, given what was parsed before it."""

    def completer(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
        return list(names(parsed_args))

    action.completer = completer  # type: ignore[attr-defined]  # where argcomplete looks

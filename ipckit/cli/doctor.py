"""`ipckit doctor`: what is wrong on this machine, and the next step for each."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ipckit.cli.answers import add_command
from ipckit.cli.limits import add_needs, needed_of
from ipckit.cli.ls import add_runtime_dir, directories_of

__all__ = ["add_to"]

_TEXT = """\
Checks the installation, the kernel, its limits against a server's settings, the runtime directory,
and what dead servers left. Nothing is changed. Exit code 1: something is wrong.

  ok     as it should be
  note   it works, less well, or is worth knowing
  wrong  something will not work; the next line says what to do
"""


def add_to(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add `doctor` to the command line."""
    parser = add_command(
        subparsers,
        common,
        "doctor",
        help="what is wrong on this machine, and what to do",
        description=_TEXT,
        example="ipckit doctor --module shop.mails:server",
    )
    add_needs(parser)
    add_runtime_dir(parser)
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from ipckit.cli.machine import checks, facts  # noqa: PLC0415 - others start without it

    known = facts.read()
    found = [
        *checks.examine(known, lambda: directories_of(options)),
        *checks.of_limits(lambda: needed_of(options, known)),
    ]
    wrong = [check.name for check in found if check.state == checks.WRONG]
    if options.json:
        print(json.dumps({"wrong": wrong, "checks": [check.form() for check in found]}))
        return 1 if wrong else 0
    for check in found:
        print(f"{check.state:5}  {check.name}: {check.found}")
        if check.step:
            print(f"       next: {check.step}")
    print(f"wrong: {', '.join(wrong)}" if wrong else "nothing is wrong")
    return 1 if wrong else 0

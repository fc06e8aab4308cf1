"""`ipckit limits`: the kernel's limits, what settings need of each, and how to raise it."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ipckit.cli.answers import CommandFailed, add_command
from ipckit.cli.run import add_module, add_settings, application

if TYPE_CHECKING:
    from ipckit.cli.machine.facts import Facts
    from ipckit.cli.machine.limits import Limit

__all__ = ["add_to", "needed_of"]

_TEXT = """\
Lists every limit of the kernel that ipckit meets, with what a server of default settings needs of
it, or one of MODULE's settings, and how to raise it. Exit code 1: one is too low. A need of "-"
depends on the program: on the size of its messages, the tables it makes.
"""


def add_needs(parser: argparse.ArgumentParser) -> None:
    """Add the options that say whose needs."""
    add_module(parser, "--module")
    add_settings(parser)


def add_to(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add `limits` to the command line."""
    parser = add_command(
        subparsers,
        common,
        "limits",
        help="the kernel's limits, against what settings need",
        description=_TEXT,
        example="ipckit limits --set max_connection=50000 --set task_worker_num=8",
    )
    parser.set_defaults(run=_limits)
    add_needs(parser)


def needed_of(options: argparse.Namespace, known: Facts) -> list[Limit]:
    """Return the limits against the settings that the options name; CommandFailed."""
    from ipckit.cli.machine import limits  # noqa: PLC0415 - others start without it
    from ipckit.server.api.loader import LoadFailed  # noqa: PLC0415 - as above
    from ipckit.server.config.settings import Settings  # noqa: PLC0415 - as above

    processes = 0
    if options.module is None:
        settings = Settings().changed(dict(options.settings))
    else:
        try:
            settings, processes = application(options.module, options.settings).needs()
        except LoadFailed as why:
            raise CommandFailed(str(why)) from None
    return limits.compare(known, settings, processes)


def _limits(options: argparse.Namespace) -> int:
    from ipckit.cli.machine import facts  # noqa: PLC0415 - others start without it

    known = facts.read()
    found = needed_of(options, known)
    short = [limit.name for limit in found if limit.short]
    if options.json:
        forms = [limit.form() for limit in found]
        print(json.dumps({"limits": forms, "short": short, "container": known.container or None}))
        return 1 if short else 0
    for limit in found:
        state = "SHORT" if limit.short else "ok" if limit.needed is not None else ""
        value, needed = _number(limit.value), _number(limit.needed)
        print(f"{state:5}  {limit.name}: {value} {limit.unit}, needed {needed}")
        print(f"       {limit.about}")
        print(f"       to raise it: {limit.advice}")
    if known.container:
        print(f"this is a container ({known.container}): they are raised where it is started")
    if short:
        print(f"too low: {', '.join(short)}")
    return 1 if short else 0


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return "unlimited" if value == float("inf") else f"{value:,.0f}"

"""`ipckit run MODULE:SERVER`: serve, each process with the module as it finds it."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import sys
from typing import Any

from ipckit.cli.answers import CommandFailed, add_command, completed_by

__all__ = ["add_module", "add_settings", "add_to", "application"]

_TEXT = """\
Serves until SIGTERM or Ctrl-C, as server.start() does. MODULE is imported by each process of the
server, not by the manager: after `ipckit reload` the new processes run the code as it is then. A
module that cannot be imported then ends the reload, and the old processes stay.

SERVER is an ipckit.Server, or a function without arguments that returns one. The module is looked
for in the current directory first. It must not call server.start() when it is imported.

Addresses, and settings of the whole server, are kept until a restart. Callbacks of the manager
(start, shutdown, worker_error, before_reload, after_reload) run in a process of their own each. A
Table of the module is each process's own, unless it has a name and is opened by that.
"""


def add_to(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add `run` to the command line."""
    parser = add_command(
        subparsers,
        common,
        "run",
        help="serve with a module's server; a reload takes new code",
        description=_TEXT,
        example="ipckit run shop.mails:server --set worker_num=4 --set task_worker_num=8",
    )
    add_module(parser, "module")
    add_settings(parser)
    parser.set_defaults(run=_run)


def add_module(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the argument, or the option, that names a server."""
    action = parser.add_argument(
        name,
        metavar="MODULE:SERVER",
        type=_named,
        help="a module, and its server or a function that returns one",
    )
    completed_by(action, lambda _: _modules_here())


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the option for settings."""
    action = parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        type=_setting,
        action="append",
        default=[],
        dest="settings",
        help="a setting over the module's; VALUE as in Python, or else a text",
    )
    completed_by(action, lambda _: _setting_names())


def _modules_here() -> list[str]:
    names = sorted(os.listdir())
    files = [name.removesuffix(".py") for name in names if name.endswith(".py")]
    return [f"{name}:server" for name in files if name.isidentifier()]


def _setting_names() -> list[str]:
    from ipckit.server.config.settings import Settings  # noqa: PLC0415 - others start without it

    return [f"{name}=" for name in Settings.names()]


def _named(text: str) -> tuple[str, str]:
    module, colon, name = text.partition(":")
    fits = re.fullmatch(r"\w+(\.\w+)*", module) and re.fullmatch(r"\w+", name)
    if not fits or not colon:
        hint = ""
        if module.endswith(".py"):
            hint = f"; for the file {module} it is {module[:-3].replace('/', '.')}:server"
        raise argparse.ArgumentTypeError(f"{text!r} is not MODULE:SERVER, such as app:server{hint}")
    return module, name


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as worker_num=4")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def application(module: tuple[str, str], settings: list[tuple[str, Any]]) -> Any:
    """Return the Application; the current directory is where Python looks first from now on."""
    from ipckit.server.api.loader import Application  # noqa: PLC0415 - others start without it

    if sys.path[:1] != [os.getcwd()]:
        sys.path.insert(0, os.getcwd())
    # A cached .pyc counts as new for a source of the same size and second: a reload must not.
    sys.dont_write_bytecode = True
    return Application(*module, dict(settings))


def _run(options: argparse.Namespace) -> int:
    from ipckit.server.api.loader import LoadFailed  # noqa: PLC0415 - as above

    try:
        server = application(options.module, options.settings).server()
    except LoadFailed as why:
        raise CommandFailed(str(why)) from None
    server.start()
    if options.json:
        print(json.dumps({"ended": ":".join(options.module)}))
    return 0

"""`ipckit completion SHELL`: a script that has the shell complete the command line.

The shell asks the command itself at each TAB (argcomplete's protocol), so the names of objects and
of control sockets are those of the moment.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from ipckit.cli.answers import CommandFailed, add_command

__all__ = ["add_to", "answer"]

_ASKED = "_ARGCOMPLETE"
_SHELLS = ("bash", "zsh", "fish")
_TEXT = """\
Prints a script for the shell. Once for all new shells:

  bash   ipckit completion bash > ~/.local/share/bash-completion/completions/ipckit
  zsh    ipckit completion zsh > DIR/_ipckit, a directory of $fpath, before compinit
  fish   ipckit completion fish > ~/.config/fish/completions/ipckit.fish

It needs the package argcomplete: pip install 'ipckit-linux[completion]'.
"""


def add_to(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add `completion` to the command line."""
    parser = add_command(
        subparsers,
        common,
        "completion",
        help="a script for bash, zsh or fish that completes these commands",
        description=_TEXT,
        example='eval "$(ipckit completion bash)"',
    )
    parser.add_argument("shell", choices=_SHELLS)
    parser.set_defaults(run=_completion)


def _completion(options: argparse.Namespace) -> int:
    try:
        from argcomplete.shell_integration import shellcode  # noqa: PLC0415  (an extra)
    except ImportError:
        raise CommandFailed(
            "completion needs the package argcomplete: pip install 'ipckit-linux[completion]'"
        ) from None
    # Its script for bash is the one for zsh, too.
    shell = "bash" if options.shell == "zsh" else options.shell
    script = shellcode(["ipckit"], shell=shell)
    print(json.dumps({"shell": options.shell, "script": script}) if options.json else script)
    return 0


def answer(parser: argparse.ArgumentParser) -> None:
    """If a shell asks for completions, answer and end the process."""
    if _ASKED not in os.environ:
        return
    try:
        import argcomplete  # noqa: PLC0415  (an extra)
    except ImportError:
        raise SystemExit(1) from None
    argcomplete.autocomplete(parser)

"""What commands have in common: how one says no, and the options that all of them take."""

from __future__ import annotations

import argparse

__all__ = ["CommandFailed", "common_options"]


class CommandFailed(Exception):
    """The command cannot do it; its text says why. Exit code 1."""


def common_options() -> argparse.ArgumentParser:
    """Return the options of every command, as a parent of its parser."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON document and no more")
    return common

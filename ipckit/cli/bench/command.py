"""`ipckit bench`: how fast ipckit is on this machine, beside what else Python has for it.

A part of the project's own measurements: peers are of the standard library and of ipckit's own
dependencies, so that nothing is to be installed. Each figure is the median of rounds in turn, each
ratio the median of the ratios of a round.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from ipckit.cli.answers import WrongUse, add_command
from ipckit.cli.bench.rounds import ROUNDS, Row

__all__ = ["add_to", "sentence"]

NAMES = "queue", "table", "task", "echo"


def add_to(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add `bench` to the command line."""
    parser = add_command(
        subparsers,
        common,
        "bench",
        help="measure ipckit on this machine, beside its peers",
        description="Measures in turn with peers of the standard library, some 30 seconds. Ratios "
        "count: absolute figures are of this machine, and of what else runs on it now.",
        example="ipckit bench queue table",
    )
    parser.add_argument(
        "what", nargs="*", metavar="WHAT", help=f"only these: {', '.join(NAMES)} (all)"
    )
    parser.add_argument(
        "--rounds", type=_rounds, default=ROUNDS, help=f"so many of each, 1..100 ({ROUNDS})"
    )
    parser.set_defaults(run=_bench)


def _rounds(text: str) -> int:
    rounds = int(text)
    if not 1 <= rounds <= 100:
        raise argparse.ArgumentTypeError(f"{rounds} rounds: must be 1..100")
    return rounds


def _bench(options: argparse.Namespace) -> int:
    from ipckit.cli.bench.subjects import SUBJECTS  # noqa: PLC0415 - other commands start without

    for name in options.what:
        if name not in NAMES:
            raise WrongUse(f"there is no {name!r} to measure: {', '.join(NAMES)}")
    rows: list[Row] = []
    for name in options.what or NAMES:
        for row in SUBJECTS[name](options.rounds):
            rows.append(row)
            if not options.json:
                print(sentence(row), flush=True)
    if options.json:
        print(json.dumps({"rows": [row._asdict() for row in rows]}))
    elif not options.what:
        print("\nNoise is about 15 %; run it again when the machine is idle.", file=sys.stderr)
    return 0


def sentence(row: Row) -> str:
    """Say in a line how it compares."""
    faster = 1 / row.ratio if row.less else row.ratio
    if 1 / 1.15 < faster < 1.15:
        told = "as fast as"
    elif faster > 1:
        told = f"{faster:.1f} times as fast as"
    else:
        told = f"{1 / faster:.1f} times as slow as"
    return (
        f"{row.what}: {row.ours:,.{0 if row.ours >= 100 else 1}f} {row.unit}, {told} {row.beside}"
    )

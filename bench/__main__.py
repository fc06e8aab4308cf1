"""Run all measurements, or those named: `python -m bench [queue|table|task|echo|...]`.

Prints rows, and writes them to build/bench/<name>.json with what machine and commit they are of.
`python -m bench.report` makes the page of the docs from these files.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from bench.plots.curves import Curve
from ipckit.cli.bench.rounds import Row, shown

NAMES = (
    "queue", "shared_queue", "channel", "sync", "framing", "table", "task", "pools", "echo",
    "memory", "syscalls", "scale", "checker", "instructions",
)  # fmt: skip
OUT = Path("build/bench")


def machine() -> dict[str, str]:
    """Return what the figures are of."""
    cpu = next(
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": f"{os.cpu_count()} virtual CPUs, {cpu}",
        "system": f"Linux {platform.release().split('-')[0]}, CPython {platform.python_version()}",
        "commit": commit,
    }


def main(names: list[str]) -> int:
    """Run the named ones; 2 when there is no such name."""
    wrong = [name for name in names if name not in NAMES]
    if wrong:
        print(f"no bench {wrong[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names or NAMES:
        began = time.monotonic()
        print(f"-- {name}", flush=True)
        rows: list[Row] = []
        curves: list[Curve] = []
        for found in importlib.import_module(f"bench.{name}").main():
            if isinstance(found, Row):
                rows += shown([found])
            else:
                curves.append(found)
                print(found.told(), flush=True)
        took = time.monotonic() - began
        document = {
            "machine": machine(),
            "seconds": round(took, 1),
            "rows": [{**row._asdict(), "verdict": row.verdict} for row in rows],
            "curves": [curve.as_dict() for curve in curves],
        }
        (OUT / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
        print(f"   {took:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run all measurements, or those named: `python -m bench [queue|table|task|echo|...]`.

Prints figures and ratios, and writes them to build/bench/<name>.json.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

NAMES = "queue", "channel", "sync", "framing", "table", "task", "echo", "memory", "checker"


def main(names: list[str]) -> int:
    """Run the named ones; 2 when there is no such name."""
    wrong = [name for name in names if name not in NAMES]
    if wrong:
        print(f"no bench {wrong[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    out = Path("build/bench")
    out.mkdir(parents=True, exist_ok=True)
    for name in names or NAMES:
        print(f"-- {name}")
        figures = importlib.import_module(f"bench.{name}").main()
        if isinstance(figures, list):
            figures = {row.what: {**row._asdict(), "ratio": row.ratio} for row in figures}
        (out / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    return 0


sys.exit(main(sys.argv[1:]))

"""Whether the same commands rank the same in three runs: `python -m bench.ranking [name ...]`.

Runs the benches three times and compares for each row who is ahead: us, the other one, or nobody
(within 15 %). Prints the rows on which two runs disagree; ends with 1 if there is one.
"""

from __future__ import annotations

import importlib
import sys
from collections import defaultdict

from ipckit.cli.bench.rounds import NOISE, Row

NAMES = "queue", "channel", "sync", "framing", "table", "task", "pools", "echo"
RUNS = 3


def ahead(row: Row) -> str:
    """Return who is ahead in a row."""
    if 1 / (1 + NOISE) <= row.ratio <= 1 + NOISE:
        return "nobody"
    return "we" if (row.ratio < 1) == row.less else "they"


def disagree(ranks: list[str]) -> bool:
    """Whether one run says we are ahead and another one says they are."""
    return {"we", "they"} <= set(ranks)


def main(names: list[str]) -> int:
    """Run and compare."""
    found: dict[str, list[str]] = defaultdict(list)
    for run in range(RUNS):
        for name in names or NAMES:
            for row in importlib.import_module(f"bench.{name}").main():
                found[f"{name}: {row.what} / {row.beside}"].append(f"{ahead(row)} {row.ratio:.2f}")
        print(f"run {run + 1} of {RUNS} is over", flush=True)
    wrong = 0
    for what, ranks in found.items():
        differs = disagree([rank.split()[0] for rank in ranks])
        wrong += differs
        print(f"{'DIFFERS' if differs else 'same':8} {what:90} {'  '.join(ranks)}")
    print(f"{len(found)} rows, {wrong} ranked otherwise in another run")
    return wrong != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

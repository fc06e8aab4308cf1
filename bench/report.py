"""Make the figures of the docs from build/bench/*.json: `python -m bench.report`.

Writes docs/explanation/performance-figures.md (included by performance-details.md), and beside it a
picture for each curve. No row is left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.__main__ import NAMES, OUT
from bench.plots.curves import Curve
from bench.plots.plot import svg
from ipckit.cli.bench.rounds import Row, figure

PAGES = Path("docs/explanation")
PICTURES = PAGES / "performance"
TITLES = {
    "queue": "Queues",
    "channel": "Channels",
    "sync": "Locks and numbers",
    "framing": "Framing",
    "table": "Table",
    "task": "Tasks",
    "pools": "Tasks beside the standard library's pools",
    "echo": "Echo",
    "memory": "Memory and start",
    "syscalls": "System calls",
    "scale": "How cost grows",
    "checker": "The judge of histories",
    "instructions": "Instructions",
}


def row_of(found: dict[str, Any]) -> Row:
    """Return a row as it was measured."""
    found.pop("verdict")
    return Row(**found)


def line(row: Row) -> str:
    """Return a row of a Markdown table."""
    bound = "≤" if row.less else "≥"
    goal = "" if row.goal is None else f"{bound} {row.goal:g}"
    verdict = f"**{row.verdict}**" if row.verdict == "missed" else row.verdict
    ours, theirs = f"{figure(row.ours)} {row.unit}", f"{figure(row.theirs)}, {row.beside}"
    return f"| {row.what} | {ours} | {theirs} | {row.ratio:.2f} | {goal} | {verdict} |"


def main() -> None:
    """Write the page and the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    text: list[str] = []
    for name in NAMES:
        document = json.loads((OUT / f"{name}.json").read_text())
        machine = document["machine"]
        text += ["", f"### {TITLES[name]}", ""]
        command = f"`make bench B={name}`, {document['seconds']:.0f} s"
        place = f"{machine['date']}, {machine['cpu']}, {machine['system']}"
        text += [f"{place}, commit `{machine['commit']}`: {command}.", ""]
        if document["rows"]:
            text += [
                "| what | ours | beside | ratio | goal | |",
                "|---|---|---|---|---|---|",
                *(line(row_of(found)) for found in document["rows"]),
            ]
        for found in document["curves"]:
            curve = Curve(**found)
            (PICTURES / f"{curve.name}.svg").write_text(svg(curve))
            text += ["", f"![{curve.title}: {curve.y} by {curve.x}](performance/{curve.name}.svg)"]
    (PAGES / "performance-figures.md").write_text("\n".join(text).lstrip() + "\n")
    print(f"written: {PAGES}/performance-figures.md")


if __name__ == "__main__":
    main()

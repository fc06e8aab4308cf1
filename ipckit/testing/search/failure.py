"""A run that went wrong: kept in a file, with a page that draws it.

Contract  The file is JSON and holds no code: the program, the schedule of the run, and the history
          that was seen. It is written to `.ipckit/` in the current directory, named after its
          content.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipckit.testing.histories.history import History
from ipckit.testing.histories.html import page
from ipckit.testing.judging.checker import Verdict
from ipckit.testing.programs.program import Program
from ipckit.testing.programs.schedules import Schedule
from ipckit.testing.spec import Machine

FOLDER = Path(".ipckit")
FORMAT = 1


@dataclass(frozen=True)
class Failure:
    """One run that went wrong."""

    kind: str  # the first words of its report
    text: str
    program: Program
    schedule: Schedule
    history: History
    verdict: Verdict | None = None


def save(
    machine: type[Machine], failure: Failure, seed: int, heading: str, text: str
) -> tuple[Path | None, list[str]]:
    """Write the failure and its page; give the file if it can be replayed, and the lines that say
    where it is, and how to replay it.
    """
    form = {
        "ipckit-failure": FORMAT,
        "machine": f"{machine.__module__}:{machine.__qualname__}",
        "engine": machine.engine,
        "kind": failure.kind,
        "seed": seed,
        "program": failure.program.to_json(),
        "plan": failure.schedule.to_json(),
        "history": failure.history.to_json(),
    }
    content = json.dumps(form, indent=1).encode()
    stem = f"{machine.__name__}-{hashlib.sha256(content).hexdigest()[:8]}"
    try:
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{stem}.json").write_bytes(content)
        drawn = page(failure.history, failure.verdict, title=heading, text=text)
        (FOLDER / f"{stem}.html").write_text(drawn, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        return None, [f"It could not be saved: {error}."]
    lines = [f"Time line: {FOLDER / stem}.html"]
    replayable = failure.program.replayable()
    if replayable:
        node = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0] or "FILE::TEST"
        lines.append(f"Replay: python -m pytest '{node}' --ipckit-replay={FOLDER / stem}.json")
    else:
        lines.append("It has arguments that no file can keep: the seed repeats the search.")
    return (FOLDER / f"{stem}.json" if replayable else None), lines


def load(path: Path) -> tuple[Mapping[str, Any], Program, Schedule]:
    """Read a saved failure. ValueError: the file is none."""
    try:
        form = json.loads(path.read_text(encoding="utf-8"))
        if form["ipckit-failure"] != FORMAT:
            raise ValueError(
                f"{path} has format {form['ipckit-failure']}, this ipckit reads {FORMAT}"
            )
        return form, Program.from_json(form["program"]), Schedule.from_json(form["plan"])
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no saved failure: {error!r}") from error

"""A saved failure, tried in an interpreter of its own, where no earlier run has left anything.

Contract  `fails_afresh` gives whether the failure is seen again within `RUNS` runs there, or a text
          that says why it could not be tried: the class is local to a function, or its module
          cannot be imported by its file.
Blocks    for as long as those runs take; an interpreter that takes more than `LIMIT` s is ended.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import operator
import subprocess
import sys
from pathlib import Path

from ipckit.testing.machine import ProcessMachine

RUNS = 20
LIMIT = 300.0  # seconds
_SAID = "ipckit-fresh: "


def fails_afresh(machine: type[ProcessMachine], saved: Path) -> bool | str:
    """See the head."""
    if "<locals>" in machine.__qualname__:
        return "the class is local to a function"
    try:
        file = inspect.getfile(machine)
    except (OSError, TypeError):
        return "the class is of no file"
    order = json.dumps([sys.path, file, machine.__module__, machine.__qualname__, str(saved)])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ipckit.testing.fresh"],
            input=order,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {LIMIT:g} s"
    said = done.stdout.rpartition(_SAID)[2].strip() if _SAID in done.stdout else ""
    if done.returncode != 0 or said not in ("fails", "passes"):
        return (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    return said == "fails"


def _class_of(file: str, module: str, name: str) -> type[ProcessMachine]:
    """Find the class in its module, which is not run as a program."""
    if module == "__main__":
        module = "ipckit_machine"
    spec = importlib.util.spec_from_file_location(module, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python module")
    made = sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    found: type[ProcessMachine] = operator.attrgetter(name)(made)
    return found


def main() -> None:
    """Do what `fails_afresh` asks on stdin."""
    from ipckit.testing.failure import load  # noqa: PLC0415 - the parent needs neither
    from ipckit.testing.prove import Prover  # noqa: PLC0415

    path, file, module, name, saved = json.load(sys.stdin)
    sys.path[:] = path
    _, program, plan = load(Path(saved))
    prover = Prover(_class_of(file, module, name))
    try:
        for run in range(RUNS):
            again = plan if run % 2 == 0 else prover.planner.plan(program, run // 2)
            if prover.try_once(program, again) is not None:
                sys.stdout.write(f"\n{_SAID}fails\n")
                return
    finally:
        prover.close()
    sys.stdout.write(f"\n{_SAID}passes\n")


if __name__ == "__main__":
    main()

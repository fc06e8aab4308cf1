"""The child of `fresh.py`: runs a saved failure again, in an interpreter that has run nothing else.

Contract  stdin has sys.path, the file, module and name of the class, and the saved file, as JSON;
          the last line of stdout says whether the failure was seen within `RUNS` runs.
"""

from __future__ import annotations

import importlib.util
import json
import operator
import sys
from pathlib import Path

from ipckit.testing.search.failure import load
from ipckit.testing.search.fresh import RUNS, SAID
from ipckit.testing.search.search import Search
from ipckit.testing.spec import Machine


def _class_of(file: str, module: str, name: str) -> type[Machine]:
    """Find the class in its module, which is not run as a program."""
    if module == "__main__":
        module = "ipckit_machine"
    spec = importlib.util.spec_from_file_location(module, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python module")
    made = sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    found: type[Machine] = operator.attrgetter(name)(made)
    return found


def main() -> None:
    """Do what `fails_in_fresh_interpreter` asks on stdin."""
    path, file, module, name, saved = json.load(sys.stdin)
    sys.path[:] = path
    _, program, schedule = load(Path(saved))
    search = Search(_class_of(file, module, name))
    try:
        for run in range(RUNS):
            again = schedule if run % 2 == 0 else search.scheduler.schedule(program, run // 2)
            if search.try_once(program, again) is not None:
                sys.stdout.write(f"\n{SAID}fails\n")
                return
    finally:
        search.close()
    sys.stdout.write(f"\n{SAID}passes\n")


if __name__ == "__main__":
    main()

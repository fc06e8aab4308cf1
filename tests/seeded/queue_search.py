"""Look for a bug in a SharedQueue whose module was compiled with it.

usage: python -m seeded.queue_search LIBRARY MACHINE OPERATIONS; prints what was found, as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import sys


def load(library: str) -> None:
    """Make this library the queue's module, before anything imports that."""
    name = "ipckit._core._shared_queue"
    spec = importlib.util.spec_from_file_location(name, library)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def main(library: str, machine: str, operations: str) -> None:
    load(library)
    # They import the queue.
    from harness import shared_queues

    from ipckit.testing import PropertyFailed
    from ipckit.testing.search import search

    search.SHRINKING = 0.1  # as in test_seeded_bugs.py
    sound = getattr(shared_queues, machine)
    # Of this module: a fresh interpreter, which would load the sound library, does not find it.
    size = {"examples": 400, "runs": 4, "operations": int(operations)}
    broken = type(machine, (sound,), {**size, "__module__": __name__})
    try:
        search.run_machine(broken)
    except PropertyFailed as error:
        failure = error.failure
        calls, processes = failure.program.count(), len(failure.program.branches)
        said = {"kind": failure.kind, "calls": calls, "processes": processes, "text": str(error)}
        print(json.dumps(said))
    else:
        print(json.dumps({"kind": "", "text": "nothing was found"}))


if __name__ == "__main__":
    main(*sys.argv[1:])

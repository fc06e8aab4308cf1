"""ipckit.testing: run generated programs in real processes, kill some, and judge what they saw.

Tier T4: it may use everything, and nobody imports it. Needs the extra ``ipckit-linux[testing]``
(hypothesis, pytest) for machines; `check`, `History`, the models and `kill_point` need nothing.
Importing it loads no hypothesis (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipckit.testing.errors import MachineError
    from ipckit.testing.histories.history import History
    from ipckit.testing.histories.operation import Event, Operation
    from ipckit.testing.histories.values import Raised
    from ipckit.testing.judging.checker import Model, Verdict, check
    from ipckit.testing.kill_points import kill_point
    from ipckit.testing.machine import ProcessMachine
    from ipckit.testing.programs.program import Kill, Stop
    from ipckit.testing.search.search import PropertyFailed
    from ipckit.testing.spec import invariant, op

_HOME = {
    "Event": "histories.operation",
    "History": "histories.history",
    "Kill": "programs.program",
    "MachineError": "errors",
    "Model": "judging.checker",
    "Operation": "histories.operation",
    "ProcessMachine": "machine",
    "PropertyFailed": "search.search",
    "Raised": "histories.values",
    "Stop": "programs.program",
    "Verdict": "judging.checker",
    "check": "judging.checker",
    "invariant": "spec",
    "kill_point": "kill_points",
    "op": "spec",
}

__all__ = [
    "Event",
    "History",
    "Kill",
    "MachineError",
    "Model",
    "Operation",
    "ProcessMachine",
    "PropertyFailed",
    "Raised",
    "Stop",
    "Verdict",
    "check",
    "invariant",
    "kill_point",
    "op",
]


def __getattr__(name: str) -> Any:
    """Load a name from its module when it is first asked for."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)

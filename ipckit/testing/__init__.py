"""ipckit.testing: run generated programs in real processes, kill some, and judge what they saw.

Tier T4: it may use everything, and nobody imports it. Needs the extra ``ipckit-linux[testing]``
(hypothesis, pytest) for machines; `check`, `History`, the models and `kill_point` need nothing.
Importing it loads no hypothesis (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipckit.testing.checker import Model, Verdict, check
    from ipckit.testing.errors import MachineError
    from ipckit.testing.history import Event, History, Operation
    from ipckit.testing.machine import ProcessMachine, invariant, op
    from ipckit.testing.points import kill_point
    from ipckit.testing.program import Kill, Stop
    from ipckit.testing.prove import PropertyFailed
    from ipckit.testing.values import Raised

_HOME = {
    "Event": "history",
    "History": "history",
    "Kill": "program",
    "MachineError": "errors",
    "Model": "checker",
    "Operation": "history",
    "ProcessMachine": "machine",
    "PropertyFailed": "prove",
    "Raised": "values",
    "Stop": "program",
    "Verdict": "checker",
    "check": "checker",
    "invariant": "machine",
    "kill_point": "points",
    "op": "machine",
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

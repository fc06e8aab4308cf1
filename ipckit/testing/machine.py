"""`ProcessMachine`: what a user writes down about an object, for the harness to try.

Contract  A subclass names its operations (`op`), what each does to a sequential model, and how the
          object is made (`setup`). Everything that can be wrong about the class itself is said when
          it is defined or first run, as MachineError.
          One instance lives for one run: `setup`, then the processes are forked and call the
          operations on it, each on its own copy of the instance and whatever it shares; then the
          invariants and `teardown` in the parent.
"""

from __future__ import annotations

import unittest
from typing import Any, ClassVar

from ipckit.testing.search.search import run_machine
from ipckit.testing.spec import Machine


class ProcessMachine(Machine):
    """An object under test, its operations and its model; see docs/harness.md.

    ``processes`` (2 to 16) work at once at most, ``operations`` calls each at most; ``before`` and
    ``after`` calls are made by one alone. ``examples`` programs are drawn, or as many as
    ``seconds`` allow; each is run ``runs`` times. ``engine`` is ``"real"``, ``"stepped"`` or
    ``"ptrace"``. A run must be over in ``deadline`` seconds, the judgement of it in ``judge``.
    ``overlap`` is the least share of runs in which two operations of one part have to be under way
    at once; below it the property is vacuous. ``partition`` names the argument that splits the
    object in parts. ``faults`` are injected in some processes. ``specification`` is a ready-made
    model for the operations that have none of their own.
    """

    TestCase: ClassVar[type[unittest.TestCase]]
    __test__ = False  # pytest: the class to collect is TestCase

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the class the test case that unittest and pytest run."""
        super().__init_subclass__(**kwargs)
        cls.TestCase = _test_case(cls)


def _test_case(machine: type[ProcessMachine]) -> type[unittest.TestCase]:
    def run_test(_self: unittest.TestCase) -> None:
        __tracebackhide__ = True
        run_machine(machine)

    name = f"{machine.__name__}TestCase"
    return type(
        name,
        (unittest.TestCase,),
        {
            "runTest": run_test,
            "__module__": machine.__module__,
            "__qualname__": name,
            "__doc__": machine.__doc__,
            "machine": machine,
        },
    )

"""Every step of a piece of Python code: each of its instructions, and each kill point.

Contract  Between `begin()` and `end()` `act(name)` is called before every bytecode instruction of
          every function called in between, in this thread, except those of this package, and at
          every kill point (with its name; else None). C code is one step.
Stands on sys.settrace (CPython 3.11 and later; a debugger or coverage tool is off until `end()`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from ipckit.testing.kill_points import on_kill_points

_OURS = str(Path(__file__).parents[1])  # ipckit/testing


class Steps:
    """Counts the steps of an operation; see the head."""

    def __init__(self, act: Callable[[str | None], None], *, instructions: bool = True) -> None:
        self.act = act
        self.instructions = instructions
        self._before: Any = None

    def begin(self) -> None:
        """Trace what is called from now on."""
        on_kill_points(self.act)
        if self.instructions:
            self._before = sys.gettrace()
            sys.settrace(self._call)

    def end(self) -> None:
        """No longer."""
        if self.instructions:
            sys.settrace(self._before)
        on_kill_points(None)

    def _call(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if event != "call" or frame.f_code.co_filename.startswith(_OURS):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._inside

    def _inside(self, _frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "opcode":
            self.act(None)
        return self._inside

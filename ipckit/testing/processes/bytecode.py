"""Every step of a piece of Python code: each of its instructions, and each kill point.

Contract  Between `begin()` and `end()` `act(name)` is called before every bytecode instruction of
          every function called in between, in this thread, except those of this package, and at
          every kill point (with its name; else None). C code is one step. The first call of a
          function has the steps of any other call.
Stands on CPython 3.12 and later: INSTRUCTION events of sys.monitoring. They have a tool id of their
          own, so a debugger or coverage tool goes on.
          CPython 3.11: sys.settrace. A debugger or coverage tool is off until `end()`. From 3.12 on
          a function's first call under sys.settrace has no opcode events.
Fork      the child is inside of what its parent was inside of; each has its own `end()`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from threading import get_ident
from types import CodeType, FrameType
from typing import Any, Protocol

from ipckit.testing.errors import MachineError
from ipckit.testing.kill_points import on_kill_points

_OURS = f"{Path(__file__).parents[1]}/"  # ipckit/testing


class Instructions(Protocol):
    """Calls `act` before each instruction from `begin()` to `end()`."""

    def begin(self) -> None:
        """Call it from now on."""

    def end(self) -> None:
        """No longer."""


class Steps:
    """Counts the steps of an operation; see the head."""

    def __init__(self, act: Callable[[str | None], None], *, instructions: bool = True) -> None:
        self.act = act
        self.instructions: Instructions | None = _Instructions(act) if instructions else None

    def begin(self) -> None:
        """Act at the steps of what is called from now on.

        Raises MachineError: other tools hold all ids of sys.monitoring. Then nothing has changed.
        """
        if self.instructions:
            self.instructions.begin()
        on_kill_points(self.act)

    def end(self) -> None:
        """No longer."""
        on_kill_points(None)
        if self.instructions:
            self.instructions.end()


if sys.version_info >= (3, 12):
    _monitoring = sys.monitoring
    _frame = sys._getframe  # noqa: SLF001  (documented; of CPython, as is sys.monitoring)
    # The ids that the documentation gives to no kind of tool come first.
    _TOOL_IDS = (4, 3, _monitoring.PROFILER_ID, _monitoring.OPTIMIZER_ID, 1, 0)
    _NAME = "ipckit.testing"

    class _Instructions:
        """The events come for all threads and for frames that run already: both are left out."""

        def __init__(self, act: Callable[[str | None], None]) -> None:
            self.act = act
            self._tool = -1

        def begin(self) -> None:
            self._tool = _own_tool()
            event = _monitoring.events.INSTRUCTION
            _monitoring.register_callback(self._tool, event, self._callback(_frame(1)))
            _monitoring.set_events(self._tool, event)
            if any(
                _monitoring.get_events(tool) & event for tool in _TOOL_IDS if tool != self._tool
            ):
                _monitoring.restart_events()  # else CPython forgets the tool that was first

        def end(self) -> None:
            tool, self._tool = self._tool, -1
            _monitoring.set_events(tool, _monitoring.events.NO_EVENTS)
            _monitoring.register_callback(tool, _monitoring.events.INSTRUCTION, None)
            _monitoring.free_tool_id(tool)

        def _callback(self, caller: FrameType) -> Callable[[CodeType, int], Any]:
            """Return what is called before each instruction: it has no name to look up."""
            act, this_thread, ours, disable = self.act, get_ident(), _OURS, _monitoring.DISABLE
            outer = tuple(_frames_from(caller))
            # By id(): the hash of a code object is computed from all of its instructions.
            outer_code = frozenset(id(frame.f_code) for frame in outer)
            frame_of, ident, code_id = _frame, get_ident, id

            def before(code: CodeType, _offset: int) -> Any:
                if code.co_filename.startswith(ours):
                    return disable
                if ident() == this_thread and not (
                    code_id(code) in outer_code and frame_of(1) in outer
                ):
                    act(None)
                return None

            return before

    def _own_tool() -> int:
        for tool in _TOOL_IDS:
            if _monitoring.get_tool(tool) is None:
                _monitoring.use_tool_id(tool, _NAME)
                return tool
        held = ", ".join(str(_monitoring.get_tool(tool)) for tool in sorted(_TOOL_IDS))
        raise MachineError(
            f"the {len(_TOOL_IDS)} tool ids of sys.monitoring are held by {held}: "
            f"end one of these tools, or use engine = 'real' without kills at a step"
        )

    def _frames_from(frame: FrameType | None) -> Any:
        while frame is not None:
            if not frame.f_code.co_filename.startswith(_OURS):
                yield frame
            frame = frame.f_back

else:

    class _Instructions:
        """The trace function is the thread's, and only frames that it is called for have it."""

        def __init__(self, act: Callable[[str | None], None]) -> None:
            self.act = act
            self._before: Any = None

        def begin(self) -> None:
            self._before = sys.gettrace()
            sys.settrace(self._call)

        def end(self) -> None:
            sys.settrace(self._before)

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

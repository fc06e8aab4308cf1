"""What the harness raises when the machine, or the model, is at fault and not the object."""

from __future__ import annotations


class MachineError(Exception):
    """The machine, not the object under test, is at fault; the text says what to change."""

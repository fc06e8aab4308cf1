"""What the machines of ipckit's own primitives have in common."""

from __future__ import annotations

import os

from hypothesis import strategies as st

from ipckit.testing import ProcessMachine

SCALE = 20 if os.environ.get("IPCKIT_SOAK") == "1" else 1
SMALL = st.integers(0, 3)


class Primitive(ProcessMachine):
    """A run costs its forks: two processes where three, and one for calls after, show no more."""

    runs = 1
    operations = 4
    processes = 2
    after = 0

"""How long a test waits for what takes a sound program no time: the end of a hang, no assertion.

LOOK is the limit of one wait, RUN that of a command which does a whole job (a build, the demo). A
test is ended by `timeout` in pyproject.toml, which is longer than both. The slowest machine that
the suites know gives a process a tenth of a core.
"""

from __future__ import annotations

__all__ = ["LOOK", "RUN"]

LOOK = 120.0  # seconds
RUN = 600.0

"""Exit codes of the processes of a server: what a process says to the manager by its end.

Stands on nothing. The documentation lists them (docs/reference/server.md).
"""

from __future__ import annotations

__all__ = ["EXIT_BOOT_FAILED", "EXIT_BROKEN", "EXIT_DONE", "EXIT_RETIRED", "IN_ORDER"]

EXIT_DONE = 0
"""The server ends, and the process ended its work."""

EXIT_BOOT_FAILED = 3
"""`worker_start`, or the import of the module, raised."""

EXIT_BROKEN = 5
"""Code of ipckit raised: a defect."""

EXIT_RETIRED = 6
"""A reload or max_request replaced the process, and it ended its work."""

IN_ORDER = frozenset({EXIT_DONE, EXIT_RETIRED})
"""A process that ends with one of these did not fail."""

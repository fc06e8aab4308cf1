"""Text that Python has and UTF-8 has not: lone surrogates, as in names that os.fsdecode() made.

Contract  whatever ipckit writes for people or for another program (a log, a file, a socket, a
          terminal) goes through escape_surrogates() where the text may be a program's own: the
          text of an exception, a path, a name. tests/meta/test_text.py finds what does not.
          Text that must come back as it was (a path in a run record) is JSON in ASCII instead.
Stands on nothing of ipckit (tier T0).
"""

from __future__ import annotations

__all__ = ["escape_surrogates"]


def escape_surrogates(text: str) -> str:
    r"""Return the text with each lone surrogate as `\udcXX`; UTF-8 can encode the result."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")

"""Sphinx settings. `make docs` builds with warnings as errors."""

import re
from typing import Any

from sphinx.application import Sphinx

project = "ipckit"
author = "The ipckit founders"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
default_role = "literal"  # docstrings write `name` with single backticks
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True  # 0o600, not 384
nitpicky = False
exclude_patterns = ["_build"]


def _plain_raises(*event: Any) -> None:
    """In "Raises:", take no sentence and no rest of one for an exception's name."""
    lines: list[str] = event[-1]
    inside, text = False, [""]
    for line in lines:
        if not line.startswith(" "):
            inside = line == "Raises:"
        if not inside or not re.match(r"    [^\s:]+( [^:]*)?$", line):
            text.append(line)
        elif text[-1].endswith("."):
            text += ["", line.strip()]
        else:
            text[-1] += " " + line.strip()
    lines[:] = text[1:]


def setup(app: Sphinx) -> None:
    """Run before napoleon, which has priority 500."""
    app.connect("autodoc-process-docstring", _plain_raises, priority=400)

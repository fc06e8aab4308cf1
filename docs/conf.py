"""Sphinx settings. `make docs` builds with warnings as errors."""

import re

project = "ipckit"
author = "The ipckit founders"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
default_role = "literal"  # docstrings write `name` with single backticks
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
nitpicky = False
exclude_patterns = ["_build"]


def _sentences_leave_raises(_app, _what, _name, _obj, _options, lines):
    """Keep a plain sentence at the end of "Raises:" from being taken for an exception's name."""
    inside = False
    text = []
    for line in lines:
        if not line.startswith(" "):
            inside = line == "Raises:"
        sentence = inside and re.match(r"    [^\s:]+( [^:]*)$", line)
        text += ["", line.strip()] if sentence else [line]
    lines[:] = text


def setup(app):
    """Run before napoleon, which has priority 500."""
    app.connect("autodoc-process-docstring", _sentences_leave_raises, priority=400)

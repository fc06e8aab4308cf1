"""Sphinx settings. `make docs` builds with warnings as errors."""

import re
from typing import Any

from sphinx.application import Sphinx

project = "ipckit"
author = "The ipckit founders"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "ipckit"
html_show_copyright = False
html_show_sphinx = False
default_role = "literal"  # docstrings write `name` with single backticks
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True  # 0o600, not 384
# performance-details.md includes the figures.
exclude_patterns = ["_build", "explanation/performance-figures.md"]

nitpicky = True
nitpick_ignore_regex = [
    # Of the standard library: its inventory would have to be fetched at each build.
    ("py:.*", r"(collections\.abc|contextlib|os|pathlib|_?queue|socket|ssl)\..*"),
    # Types of annotations that are no names of ours to be used: the pages describe what they take.
    ("py:class", r"ipckit\.(server\.api\.server\._Callback|testing\.spec\.Op)"),
    ("py:class", r"ipckit\.table\.schema\.(Column|Schema)"),
    ("py:class", r"ipckit\.queue\.posix_calls\.MessageQueue"),
    ("py:class", r"ipckit\.server\.tasks\.(runner\.CurrentTask|retry_policy\.Failure)"),
    (
        "py:class",
        r"ipckit\.(client\.ClientSettings|server\.config\.setting_types\.(Server|Port)Settings)",
    ),
]


def _plain_words(_app: Sphinx, what: str, *rest: Any) -> None:
    """Keep napoleon from taking words before a colon for a type or an exception.

    In "Raises:", one line may name several, and a line may go on with a sentence.
    """
    lines: list[str] = rest[-1]
    if what in {"property", "attribute", "data"} and lines:
        lines[:1] = lines[0].replace(": ", ":\n", 1).split("\n")
        return
    inside, text = False, [""]
    for line in lines:
        if not line.startswith(" "):
            inside = line == "Raises:"
        body = line.strip()
        if not inside or not line.startswith("    ") or not body:
            text.append(line)
            continue
        *before, last = re.split(r"(?<=\.) (?=\w+: )", body)
        for part in [*before, last]:
            _add(text, part)
    lines[:] = text[1:]


def _add(text: list[str], part: str) -> None:
    """Add what follows "Raises:": an exception with its reason, a row of names, or words."""
    names = re.fullmatch(r"(?:\w+(?:, |\. ))*\w+\.", part)
    if re.match(r"\w+: ", part):
        text.append(f"    {part}")
    elif names and text[-1].endswith((".", ":")):
        text += [f"    {name}:" for name in re.findall(r"\w+", part)]
    elif text[-1].endswith("."):
        text += ["", part]
    else:
        text[-1] += f" {part}"


def setup(app: Sphinx) -> None:
    """Run before napoleon, which has priority 500."""
    app.connect("autodoc-process-docstring", _plain_words, priority=400)

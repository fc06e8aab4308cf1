"""Sphinx settings."""

project = "ipckit"
author = "The ipckit founders"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
nitpicky = False
exclude_patterns = ["_build"]
suppress_warnings = ["myst.xref_missing"]  # links into the repository, outside of the pages

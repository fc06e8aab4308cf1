"""Why ipckit cannot be imported: another distribution of that name, or half an installation.

Another project owns `ipckit` on the package index, with the same import name; the two overwrite
each other without a word, so the first import error has to say so. Tier T0: imports nothing.
"""

from __future__ import annotations

import sys

OURS = "ipckit-linux"

_NEEDED = ("cffi", "_cffi_backend", "msgspec", "uvloop")


def clash() -> str:
    """Return one sentence naming the other distribution and the way out, or "" if there is none."""
    import importlib.metadata  # noqa: PLC0415  (slow, and wanted only after an import has failed)

    owners = importlib.metadata.packages_distributions().get("ipckit", [])
    others = sorted(set(owners) - {OURS})
    if not others:
        return ""
    return (
        f"the distribution {others[0]!r} installed another package named 'ipckit' over this one:"
        f" run `pip uninstall {others[0]}` and then `pip install --force-reinstall {OURS}`"
    )


def why_not(error: BaseException) -> str:
    """Return a sentence that says why an import failed and what to do, or "" if that is unknown."""
    if hint := clash():
        return hint
    name = getattr(error, "name", None) or ""
    if not isinstance(error, ModuleNotFoundError):
        return ""
    if name.startswith("ipckit._core."):
        return (
            f"ipckit's C core is not there for this Python, {sys.executable}: in a checkout run "
            f"`make setup`, and then .venv/bin/python; else `pip install --force-reinstall {OURS}`"
        )
    if name.partition(".")[0] in _NEEDED:
        return (
            f"ipckit needs the module {name!r}, which is not there for this Python, "
            f"{sys.executable}: `pip install {OURS}` installs it; in a checkout run `make setup`, "
            f"and then .venv/bin/python"
        )
    return ""

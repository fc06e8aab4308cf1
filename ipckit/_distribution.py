"""Who else installed files under the name ``ipckit``.

Another project owns `ipckit` on the package index, with the same import name; the two overwrite
each other without a word, so the first import error has to say so. Tier T0: imports nothing.
"""

from __future__ import annotations

OURS = "ipckit-linux"


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

"""Programs whose default start method of multiprocessing is another one, as on another Python."""

from __future__ import annotations

import multiprocessing

__all__ = ["METHODS", "set_default"]

METHODS = tuple(multiprocessing.get_all_start_methods())


def set_default(method, folder, monkeypatch) -> None:
    """Have each Python that is started from now on begin with this start method."""
    text = f"import multiprocessing\nmultiprocessing.set_start_method({method!r})\n"
    (folder / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))

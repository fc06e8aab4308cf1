"""What several processes did: every call with its two moments, and every death.

Contract  A `History` is in order of the calls. Its file is JSON (`values.py` says which values
          keep their types) and holds no code.
Pure, except save() and load(), which write and read the file named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipckit.testing.histories.html import page
from ipckit.testing.histories.operation import Event, Operation
from ipckit.testing.histories.text import timeline
from ipckit.testing.histories.values import Raised, from_json, to_json

FORMAT = 1


@dataclass(frozen=True)
class History:
    """Operations of one run, in order of their calls, and the events of their processes.

    ``History([Operation(0, "put", {"value": 1}, called=10, returned=20), ...])``; raises ValueError
    when two operations of one process overlap. `to_html(path)` draws it, `str()` as text.
    """

    operations: tuple[Operation, ...] = ()
    events: tuple[Event, ...] = ()

    def __init__(
        self,
        operations: Iterable[Operation] = (),
        events: Iterable[Event] = (),
    ) -> None:
        operations = tuple(operations)
        for each in operations:
            if not isinstance(each, Operation):
                raise TypeError(
                    f"operations has {each!r}: must be Operation objects, e.g. "
                    f"Operation(0, 'get', {{}}, called=10, returned=20)"
                )
        order = sorted(operations, key=lambda each: (each.called, each.returned))
        object.__setattr__(self, "operations", tuple(order))
        object.__setattr__(self, "events", tuple(sorted(events, key=lambda each: each.time)))
        last: dict[int, Operation] = {}
        for each in order:
            before = last.get(each.process)
            if before is not None and each.called < before.returned:
                raise ValueError(f"process {each.process}: {each} began before {before} was over")
            last[each.process] = each

    def __len__(self) -> int:
        """Count the operations."""
        return len(self.operations)

    def __iter__(self) -> Iterator[Operation]:
        """Go through the operations, in order of their calls."""
        return iter(self.operations)

    def __str__(self) -> str:
        """Draw it as text (`text.timeline`)."""
        return timeline(self)

    def completed(self, name: str | None = None) -> int:
        """Count the operations that returned without raising, all or those called `name`."""
        return len(self.results(name))

    def cut(self, name: str | None = None) -> int:
        """Count the operations that a death cut off: each may have happened or not."""
        return sum(each.cut and name in (None, each.name) for each in self)

    def results(self, name: str | None = None) -> list[Any]:
        """Give the results of the operations that `completed()` counts, in order of the calls."""
        return [
            each.result for each in self
            if not each.cut and name in (None, each.name) and not isinstance(each.result, Raised)
        ]  # fmt: skip

    @property
    def processes(self) -> list[int]:
        """Every process that has an operation or an event."""
        return sorted({each.process for each in self} | {event.process for event in self.events})

    def to_html(self, path: str | Path) -> None:
        """Write one self-contained page with a lane for each process. OSError as `open`'s."""
        Path(path).write_text(page(self), encoding="utf-8", errors="backslashreplace")

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form, for `from_json()`."""
        return {
            "ipckit-history": FORMAT,
            "operations": [
                {
                    **vars(each),
                    "arguments": to_json(dict(each.arguments)),
                    "result": to_json(each.result),
                }
                for each in self
            ],
            "events": [vars(each) for each in self.events],
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> History:
        """Give the history back. ValueError: it is none, or of another format."""
        try:
            if form["ipckit-history"] != FORMAT:
                raise ValueError(
                    f"the history has format {form['ipckit-history']}, this ipckit reads {FORMAT}"
                )
            operations = [
                Operation(
                    **{
                        **each,
                        "arguments": from_json(each["arguments"]),
                        "result": from_json(each["result"]),
                    }
                )
                for each in form["operations"]
            ]
            return cls(operations, [Event(**each) for each in form["events"]])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no history that History wrote: {error!r}") from error

    def save(self, path: str | Path) -> None:
        """Write the history to a file for `load()`. OSError as `open`'s."""
        Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="ascii")

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read what `save()` wrote. ValueError: it is no such file, or of another format."""
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except (UnicodeDecodeError, json.JSONDecodeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

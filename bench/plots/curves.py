"""A figure as it grows: named lines of points, for the plots of the docs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Curve"]


@dataclass
class Curve:
    """Lines over one scale; both axes are logarithmic where that is said."""

    name: str  # of the file
    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    log_y: bool = True

    def add(self, line: str, x: float, y: float) -> None:
        """Add a point to a line."""
        self.lines.setdefault(line, []).append((x, y))

    def told(self) -> str:
        """Return it for a terminal."""
        text = [f"{self.title}: {self.y} by {self.x}"]
        for line, points in self.lines.items():
            text.append(f"  {line:34} " + "  ".join(f"{x:g}: {y:.4g}" for x, y in points))
        return "\n".join(text)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)

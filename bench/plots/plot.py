"""A curve as an SVG for the docs: logarithmic axes, a label at each line's end, light and dark."""

from __future__ import annotations

import math
from html import escape

from bench.plots.curves import Curve

__all__ = ["svg"]

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 44, 52
COLOURS = ("#2f6fde", "#d1495b", "#2a9d6f", "#b07d12", "#8156c4", "#5b6770")
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #333 }
  .title { font-size: 16px; font-weight: 600 }
  .grid { stroke: #8884; stroke-width: 1 }
  .line { fill: none; stroke-width: 2.2; stroke-linejoin: round }
  @media (prefers-color-scheme: dark) { text { fill: #ddd } }
"""


def svg(curve: Curve) -> str:
    """Return the picture."""
    points = [point for line in curve.lines.values() for point in line]
    across = Axis([x for x, _ in points], LEFT, WIDTH - RIGHT, logarithmic=True)
    up = Axis([y for _, y in points], HEIGHT - BOTTOM, TOP, logarithmic=curve.log_y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(curve.title)}</title><style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="22">{escape(curve.title)}</text>',
    ]
    for value in up.ticks:
        y = up.at(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>'
        )
    for value in across.ticks:
        x = across.at(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{short(value)}</text>"
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{escape(curve.x)}</text>'
    )
    parts.append(f'<text x="8" y="{TOP - 6}">{escape(curve.y)}</text>')
    labels = apart([(up.at(line[-1][1]), name) for name, line in curve.lines.items()])
    for number, (name, line) in enumerate(curve.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in line)
        parts.append(f'<polyline class="line" stroke="{colour}" points="{path}"/>')
        for x, y in line:
            parts.append(
                f'<circle cx="{across.at(x):.1f}" cy="{up.at(y):.1f}" r="3" fill="{colour}"/>'
            )
        at = across.at(line[-1][0]) + 10
        style = f'style="fill:{colour}"'
        parts.append(f'<text x="{at:.1f}" y="{labels[name] + 4:.1f}" {style}>{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


class Axis:
    """From values to places, with a few round ticks."""

    def __init__(self, values: list[float], start: float, end: float, *, logarithmic: bool) -> None:
        self._logarithmic = logarithmic
        self._start, self._end = start, end
        if logarithmic:
            low, high = math.log10(min(values)), math.log10(max(values))
            self._low, self._high = math.floor(low + 0.01), math.ceil(high - 0.01)
            self.ticks = [10.0**power for power in range(self._low, self._high + 1)]
        else:
            step = 10 ** math.floor(math.log10(max(values)))
            step = step / 2 if max(values) / step < 4 else step
            self._low, self._high = 0, math.ceil(max(values) / step) * step
            self.ticks = [step * number for number in range(round(self._high / step) + 1)]

    def at(self, value: float) -> float:
        """Return where a value lies."""
        place = math.log10(value) if self._logarithmic else value
        share = (place - self._low) / ((self._high - self._low) or 1)
        return self._start + share * (self._end - self._start)


def apart(labels: list[tuple[float, str]], least: float = 15) -> dict[str, float]:
    """Move labels down so that none lies over another one."""
    placed: dict[str, float] = {}
    last = -math.inf
    for y, name in sorted(labels):
        last = max(y, last + least)
        placed[name] = last
    return placed


def short(value: float) -> str:
    """Return a tick's text: 1,000 is 1k."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"

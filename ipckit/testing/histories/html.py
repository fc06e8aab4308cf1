"""A history as one HTML page: a lane for each process, a bar for each operation.

Contract  The page needs nothing but itself: no script, no font, no network. What a result or an
          argument contains is text there, never markup.
Pure.
"""

from __future__ import annotations

import html

from ipckit.testing.histories.operation import Operation
from ipckit.testing.histories.text import Drawn, Explained, explain, size

LANE, BAR, LEFT, TOP = 70, 30, 90, 56
NEAREST, WIDEST, USUAL = 30, 84, 900  # pixels between two moments; of a page
LETTER = 7  # pixels, at 12 px: rather too wide than overlapping
LEGEND = (
    "A bar reaches from call to return. Red: fits nowhere in an order. Dashed: cut off by its"
    " process's end. Moments are in order; their distances are not to scale."
)
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #1c2430; background: #fff }
h1 { font-size: 1.25rem } pre { background: #f3f5f8; padding: 1rem; overflow-x: auto }
svg text { font: 12px system-ui, sans-serif; fill: #1c2430 }
.lane { stroke: #c9d1dc } .bar { fill: #cfe3f7; stroke: #3a78b5 }
.cut { fill: #eee; stroke: #777; stroke-dasharray: 4 3 }
.wrong { fill: #fbd0cd; stroke: #c0261c; stroke-width: 2 }
.event { stroke: #c0261c; stroke-width: 2 }
svg text.event-name, svg text.wrong-name { fill: #c0261c; font-weight: 600 }
svg text.when { fill: #5b6675 } .tick { stroke: #e8ecf1 }
.drawing { overflow-x: auto } .legend { color: #5b6675 }
"""


def page(
    history: Drawn, verdict: Explained | None = None, *, title: str = "", text: str = ""
) -> str:
    """Draw a history; a verdict explains it, and what fits nowhere is red."""
    wrong = verdict.unplaced if verdict is not None else None
    told = text or (explain(verdict) if verdict is not None and verdict.counter_example else "")
    heading = title or "History"
    return "\n".join([
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{html.escape(heading)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{html.escape(heading)}</h1><p>{size(history)}</p>",
        f'<div class="drawing">{_drawing(history, wrong)}</div>',
        f'<p class="legend">{LEGEND}</p>',
        f"<pre>{html.escape(told)}</pre>" if told else "",
        "</body></html>\n",
    ])  # fmt: skip


def _places(history: Drawn) -> tuple[dict[int, int], int]:
    """Give each moment's x, so far from the last that no label meets the next; and the width."""
    begins: dict[int, list[tuple[tuple[int, str], int]]] = {}  # what is written from there on
    for each in history.operations:
        room = LETTER * len(_label(each)) + 14
        begins.setdefault(each.called, []).append(((each.process, "label"), room))
    for event in history.events:
        room = LETTER * len(event.kind) + 14
        begins.setdefault(event.time, []).append(((event.process, "event"), room))
    moments = sorted(begins.keys() | {each.returned for each in history.operations})
    place: dict[int, int] = {}
    free: dict[tuple[int, str], int] = {}  # x from which on a line of labels is empty
    step = max(NEAREST, min(WIDEST, USUAL // max(len(moments), 1)))
    x = LEFT
    for moment in moments:
        lines = begins.get(moment, [])
        x = max([x, *(free.get(line, 0) for line, _ in lines)])
        place[moment] = x
        for line, room in lines:
            free[line] = x + room
        x += step
    return place, max([x + 60, *free.values()])


def _drawing(history: Drawn, wrong: Operation | None) -> str:
    """Place moments by their order, not their distance: what matters is before and after."""
    place, width = _places(history)
    lanes = {process: TOP + LANE * index for index, process in enumerate(history.processes)}
    height = TOP + LANE * max(len(lanes), 1) + 10
    first = min(place, default=0)
    shown_to = 0  # x of the end of the last time written
    parts = [f'<svg width="{width}" height="{height}" role="img" aria-label="time line">']
    for moment, x in place.items():
        parts.append(f'<line class="tick" x1="{x}" y1="{TOP - 26}" x2="{x}" y2="{height}"/>')
        if x >= shown_to:
            when = f"{(moment - first) / 1000:.1f} µs"
            parts.append(f'<text class="when" x="{x}" y="{TOP - 32}">{when}</text>')
            shown_to = x + LETTER * len(when) + 14
    for process, y in lanes.items():
        middle = y + BAR / 2
        parts.append(f'<text x="6" y="{middle + 4}">process {process}</text>')
        parts.append(f'<line class="lane" x1="{LEFT}" y1="{middle}" x2="{width}" y2="{middle}"/>')
    for each in history.operations:
        x, y = place[each.called], lanes[each.process]
        long = max(place[each.returned] - x, 6)
        kind = "wrong" if each == wrong else "cut" if each.cut else "bar"
        full = html.escape(str(each))
        parts.append(
            f'<g><title>{full}</title><rect class="{kind}" x="{x}" y="{y}" width="{long}"'
            f' height="{BAR}" rx="4"/>'
            f'<text class="{kind}-name" x="{x + 3}" y="{y + BAR + 14}">'
            f"{html.escape(_label(each))}</text></g>"
        )
    for event in history.events:
        x, y = place[event.time], lanes[event.process]
        parts.append(f'<line class="event" x1="{x}" y1="{y - 6}" x2="{x}" y2="{y + BAR + 6}"/>')
        parts.append(
            f'<text class="event-name" x="{x + 3}" y="{y - 8}">{html.escape(event.kind)}</text>'
        )
    return "\n".join([*parts, "</svg>"])


def _label(operation: Operation) -> str:
    text = str(operation)
    return text if len(text) <= 48 else text[:47] + "…"

"""A history as one HTML page: a lane for each process, a bar for each operation.

Contract  The page needs nothing but itself: no script, no font, no network. What a result or an
          argument contains is text there, never markup.
Pure.
"""

from __future__ import annotations

import html

from ipckit.testing.checker import Verdict
from ipckit.testing.history import History, Operation
from ipckit.testing.report import explain

LANE, BAR, LEFT, TOP = 64, 30, 110, 46
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #1c2430; background: #fff }
h1 { font-size: 1.25rem } pre { background: #f3f5f8; padding: 1rem; overflow-x: auto }
svg text { font: 12px system-ui, sans-serif; fill: #1c2430 }
.lane { stroke: #c9d1dc } .bar { fill: #cfe3f7; stroke: #3a78b5 }
.cut { fill: #eee; stroke: #777; stroke-dasharray: 4 3 }
.wrong { fill: #fbd0cd; stroke: #c0261c; stroke-width: 2 }
.event { stroke: #c0261c; stroke-width: 2 }
svg text.event-name { fill: #c0261c; font-weight: 600 } .tick { stroke: #e8ecf1 }
"""


def page(
    history: History, verdict: Verdict | None = None, *, title: str = "", text: str = ""
) -> str:
    """Draw a history; a verdict explains it, and what fits nowhere is red."""
    wrong = verdict.unplaced if verdict is not None else None
    told = text or (explain(verdict) if verdict is not None and verdict.counter_example else "")
    heading = title or "History"
    size = f"{len(history.processes)} processes, {len(history)} operations"
    return "\n".join([
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{html.escape(heading)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{html.escape(heading)}</h1><p>{size}</p>",
        _drawing(history, wrong),
        f"<pre>{html.escape(told)}</pre>" if told else "",
        "</body></html>\n",
    ])  # fmt: skip


def _drawing(history: History, wrong: Operation | None) -> str:
    """Place moments by their order, not their distance: what matters is before and after."""
    moments = sorted({
        moment
        for each in history
        for moment in (each.called, each.returned)
    } | {event.time for event in history.events})  # fmt: skip
    labels = [len(_label(each)) for each in history]
    step = max(34, min(180, 7 * max(labels, default=10)) // 2)
    place = {moment: LEFT + step * index for index, moment in enumerate(moments)}
    lanes = {process: TOP + LANE * index for index, process in enumerate(history.processes)}
    width = LEFT + step * len(moments) + 60
    height = TOP + LANE * max(len(lanes), 1) + 10
    parts = [f'<svg width="{width}" height="{height}" role="img" aria-label="time line">']
    for index, moment in enumerate(moments):
        x = place[moment]
        parts.append(f'<line class="tick" x1="{x}" y1="{TOP - 18}" x2="{x}" y2="{height}"/>')
        if index % max(1, 70 // step) == 0:
            parts.append(
                f'<text x="{x}" y="{TOP - 24}">{(moment - moments[0]) / 1000:.1f} µs</text>'
            )
    for process, y in lanes.items():
        middle = y + BAR / 2
        parts.append(f'<text x="6" y="{middle + 4}">process {process}</text>')
        parts.append(f'<line class="lane" x1="{LEFT}" y1="{middle}" x2="{width}" y2="{middle}"/>')
    for each in history:
        x, y = place[each.called], lanes[each.process]
        long = max(place[each.returned] - x, 6)
        kind = "wrong" if each == wrong else "cut" if each.cut else "bar"
        full = html.escape(str(each))
        parts.append(
            f'<g><title>{full}</title><rect class="{kind}" x="{x}" y="{y}" width="{long}"'
            f' height="{BAR}" rx="4"/>'
            f'<text x="{x + 3}" y="{y + BAR + 14}">{html.escape(_label(each))}</text></g>'
        )
    for event in history.events:
        x, y = place[event.time], lanes[event.process]
        parts.append(f'<line class="event" x1="{x}" y1="{y - 6}" x2="{x}" y2="{y + BAR + 6}"/>')
        parts.append(
            f'<text class="event-name" x="{x + 3}" y="{y - 2}">{html.escape(event.kind)}</text>'
        )
    return "\n".join([*parts, "</svg>"])


def _label(operation: Operation) -> str:
    text = str(operation)
    return text if len(text) <= 48 else text[:47] + "…"

"""A comparison of routing rules as one SVG or HTML file that needs nothing else.

Colours are properties with a second set for dark surroundings; every line also has a pattern of
its own and its name beside it.
"""

import math
from collections.abc import Iterator
from html import escape
from typing import Any

from modelyard.entry.cli import traces
from modelyard.entry.cli.formats import duration

WIDTH, HEIGHT = 880, 400
LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 56, 64, 480, 280
BARS_LEFT, BARS_WIDTH = 640, 220
PATTERNS = ("", "7 3", "2 3", "9 3 2 3", "4 4", "1 4")
STYLE = """
svg { --ground: #fbfbfc; --ink: #1b1f27; --soft: #5b6472; --line: #dde1e8;
  --c0: #2357c6; --c1: #c2410c; --c2: #146c3a; --c3: #8b2fb0; --c4: #8a5300; --c5: #0e7490;
  font: 13px system-ui, "Segoe UI", Roboto, sans-serif; }
@media (prefers-color-scheme: dark) { svg { --ground: #12151b; --ink: #e6e9ef; --soft: #9aa4b4;
  --line: #2c323d; --c0: #86aefc; --c1: #fb923c; --c2: #6fd39b; --c3: #d8a2f0; --c4: #f0b95a;
  --c5: #67d3e8; } }
.ground { fill: var(--ground); } text { fill: var(--ink); } .soft { fill: var(--soft); }
.title { font-weight: 600; } .grid { stroke: var(--line); } .curve { fill: none; stroke-width: 2; }
"""
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Routing rules compared</title>
<meta name="viewport" content="width=device-width">
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 24px auto; max-width: 920px; padding: 0 16px; font: 14px/1.5 system-ui, sans-serif;
  background: #fbfbfc; color: #1b1f27; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #12151b; color: #e6e9ef; }} }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 3px 14px 3px 0; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
svg {{ width: 100%; height: auto; }}
</style>
<h1>Routing rules compared</h1>
<p>{headline}</p>
{table}
{picture}
</html>
"""


def draw(value: dict[str, Any], suffix: str) -> str:
    """The text of the file; `value` is the answer of `traces replay`."""
    picture = "\n".join(_picture(value))
    if suffix == ".svg":
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{picture}\n'
    return PAGE.format(
        headline=escape(traces.headline(value)), table=_table(value), picture=picture
    )


def _table(value: dict[str, Any]) -> str:
    head = "".join(f"<th>{escape(name.removeprefix('>'))}</th>" for name in traces.COLUMNS)
    rows = (
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in traces.table_rows(value)
    )
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _picture(value: dict[str, Any]) -> Iterator[str]:
    rules = value["rules"]
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'role="img" aria-label="First-token times and work per replica by routing rule">'
    )
    yield f"<style>{STYLE}</style>"
    yield f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>'
    yield f'<text class="soft" x="{LEFT}" y="24">{escape(traces.headline(value))}</text>'
    yield from _curves(rules)
    yield from _bars(rules)
    yield "</svg>"


# --- how many had their first token by when --------------------------------------------------


def _curves(rules: list[dict[str, Any]]) -> Iterator[str]:
    scale = _Scale([one["curve_s"] for one in rules])
    yield f'<text class="title" x="{LEFT}" y="50">Requests with a first token by</text>'
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = _y(share)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}h{PLOT_WIDTH}"/>'
        yield _label(LEFT - 8, y + 4, f"{share:.0%}", "end")
    for tick_s in scale.ticks():
        x = scale.x(tick_s)
        yield f'<path class="grid" d="M{x:.1f} {TOP}v{PLOT_HEIGHT}"/>'
        yield _label(x, TOP + PLOT_HEIGHT + 18, duration(tick_s * 1e6), "middle")
    for number, one in enumerate(rules):
        points = " ".join(
            f"{scale.x(at_s):.1f},{_y(place / len(one['curve_s'])):.1f}"
            for place, at_s in enumerate(one["curve_s"])
        )
        yield (
            f'<polyline class="curve" stroke="var(--c{number % 6})" '
            f'stroke-dasharray="{PATTERNS[number % 6]}" points="{points}"/>'
        )


class _Scale:
    """A logarithmic axis over all times, from the fastest twentieth on."""

    def __init__(self, curves: list[tuple[float, ...]]) -> None:
        low = min(max(curve[len(curve) // 20], 1e-3) for curve in curves)
        high = max(max(curve[-1] for curve in curves), low * 10)
        self._low, self._high = math.log10(low), math.log10(high)

    def x(self, at_s: float) -> float:
        """Where a time is drawn."""
        place = (math.log10(max(at_s, 1e-9)) - self._low) / (self._high - self._low)
        return LEFT + PLOT_WIDTH * min(max(place, 0.0), 1.0)

    def ticks(self) -> Iterator[float]:
        """1, 2, 5, 10 … within the axis; only powers of ten where it is long."""
        steps = (1, 2, 5) if self._high - self._low < 3 else (1,)
        for power in range(math.floor(self._low), math.ceil(self._high) + 1):
            for step in steps:
                if self._low <= math.log10(step * 10.0**power) <= self._high:
                    yield step * 10.0**power


def _y(share: float) -> float:
    return TOP + PLOT_HEIGHT * (1 - share)


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text class="soft" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


# --- what each replica had to do --------------------------------------------------------------


def _bars(rules: list[dict[str, Any]]) -> Iterator[str]:
    """A row for each rule: its name in its colour and pattern, and a bar for each replica."""
    yield f'<text class="title" x="{BARS_LEFT}" y="50">Time in prefill, by replica</text>'
    row = PLOT_HEIGHT / len(rules)
    for number, one in enumerate(rules):
        floor = TOP + row * (number + 1) - 12
        colour = f"var(--c{number % 6})"
        yield (
            f'<path stroke="{colour}" stroke-width="2" stroke-dasharray="{PATTERNS[number % 6]}" '
            f'd="M{BARS_LEFT - 72} {floor - row + 20:.1f}h60"/>'
        )
        yield f'<text x="{BARS_LEFT}" y="{floor - row + 24:.1f}">{escape(one["rule"])}</text>'
        yield f'<path class="grid" d="M{BARS_LEFT} {floor:.1f}h{BARS_WIDTH}"/>'
        width = BARS_WIDTH / len(one["work"])
        for place, share in enumerate(one["work"]):
            height = (row - 40) * min(share, 1.0)
            yield (
                f'<rect fill="{colour}" x="{BARS_LEFT + place * width:.1f}" '
                f'y="{floor - height:.1f}" width="{width * 0.8:.1f}" height="{height:.1f}">'
                f"<title>replica {place}: {share:.0%}</title></rect>"
            )

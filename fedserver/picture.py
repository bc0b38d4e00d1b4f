"""The curves of a run as a picture: one small panel a metric, in SVG, with nothing but text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from hansa.fedserver.records import RoundRecord

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 220, 64, 14, 34, 34
INK, FAINT, LINE = "#1f2933", "#cbd2d9", "#0b6e99"

Point = tuple[int, float]


def curves(records: Sequence[RoundRecord], title: str) -> str:
    """Draw every metric over rounds, two panels a row, but no metric's own error; a run without any is blank."""
    learnt = [record for record in records if record.round > 0]
    known = {name for record in learnt for name in record.metrics if _points([record], name)}
    names = sorted(name for name in known if not name.endswith("_error"))
    panels = [_panel(index, name, _points(learnt, name)) for index, name in enumerate(names)]
    width, height = 2 * WIDTH, max(1, -(-len(names) // 2)) * HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="11" fill="{INK}"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(panels)}</svg>\n'
    )


def _points(records: Sequence[RoundRecord], name: str) -> list[Point]:
    values = [(record.round, record.metrics.get(name)) for record in records]
    return [(number, value) for number, value in values if value is not None and math.isfinite(value)]


def _panel(index: int, name: str, points: list[Point]) -> str:
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1)
    low, high = _span([value for _, value in points])

    def at(number: float, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * (number - first) / (last - first)
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)
        return round(x, 1), round(y, 1)

    lines = [_level(value, at(first, value)[1]) for value in (low, (low + high) / 2, high)]
    path = " ".join(f"{x},{y}" for x, y in (at(*point) for point in points))
    end_x, end_y = at(*points[-1])
    return (
        f'<g transform="translate({index % 2 * WIDTH},{index // 2 * HEIGHT})">'
        f'<text x="{LEFT}" y="18" font-size="13" font-weight="bold">{escape(name)}</text>'
        f'<text x="{WIDTH - RIGHT}" y="18" text-anchor="end">{points[-1][1]:.4g}</text>{"".join(lines)}'
        f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="2"/>'
        f'<circle cx="{end_x}" cy="{end_y}" r="3" fill="{LINE}"/>'
        f'<text x="{LEFT}" y="{HEIGHT - 12}">round {first}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 12}" text-anchor="end">{points[-1][0]}</text></g>'
    )


def _span(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    around = max(0.5, abs(low) * 1e-6)
    return low - around, high + around


def _level(value: float, y: float) -> str:
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="{FAINT}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:.3g}</text>'
    )

"""One panel of a picture: a metric over rounds or time, with axes, curves and bands, in SVG that is only text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 220, 64, 14, 34, 34
INK, FAINT, LINE = "#1f2933", "#cbd2d9", "#0b6e99"
MOST = 150
"""Points of a curve that are drawn, about one every two pixels: more of a jagged one would fill the panel."""

Least = Callable[[Iterable[float]], float]
Along = Callable[[float, float], tuple[str, str]]
"""Writes the ends of an axis."""


class Point(NamedTuple):
    """A value at a round or a time, and the edges of the band around it."""

    at: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points in their order, at least one, and how they look; ``dash`` is SVG's."""

    points: Sequence[Point]
    colour: str = LINE
    dash: str = ""


def thin(points: Sequence[Point], most: int = MOST, low: Least = min, high: Least = max) -> list[Point]:
    """Return at most so many points: neighbours become their mean, and the band holds all that they held.

    The first and the last point stay as they are. ``low`` and ``high`` say what becomes of the edges of neighbours.

    >>> thin([Point(i, v, v, v) for i, v in enumerate([9.0, 1.0, 3.0, 2.0, 4.0, 7.0])], 4)[1]
    Point(at=1, value=2.0, low=1.0, high=3.0)
    """
    if len(points) <= most:
        return list(points)
    inner, count = points[1:-1], most - 2
    edges = [len(inner) * i // count for i in range(count + 1)]
    groups = [inner[start:end] for start, end in pairwise(edges)]
    means = [
        Point(
            group[(len(group) - 1) // 2].at,
            fmean(point.value for point in group),
            low(point.low for point in group),
            high(point.high for point in group),
        )
        for group in groups
    ]
    return [points[0], *means, points[-1]]


def rounds(first: float, last: float) -> tuple[str, str]:
    """Write the ends of an axis of rounds."""
    return f"round {first}", f"{last}"


def times(first: float, last: float) -> tuple[str, str]:
    """Write the ends of an axis of virtual time."""
    return duration(first), f"{duration(last)} of virtual time"


def duration(seconds: float) -> str:
    """Write a time in the unit that suits it.

    >>> duration(7.25), duration(150), duration(86400 * 3)
    ('7.2 s', '2.5 min', '3.0 days')
    """
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """From rounds and values to pixels of a panel."""

    right: int
    first: float
    last: float
    low: float
    high: float

    def at(self, number: float, value: float) -> tuple[float, float]:
        x = LEFT + (self.right - LEFT) * (number - self.first) / ((self.last - self.first) or 1)
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.low) / (self.high - self.low)
        return round(x, 1), round(y, 1)

    def path(self, points: Iterable[tuple[float, float]]) -> str:
        return " ".join(f"{x},{y}" for x, y in (self.at(*point) for point in points))


def panel(
    index: int,
    name: str,
    curves: Sequence[Curve],
    *,
    of: int,
    note: str = "",
    top: int = 0,
    along: Along = rounds,
) -> str:
    """Draw curves, at least one, into a panel ``of`` so many, two a row, below so many pixels; one alone is wide.

    ``note`` stands at its upper right; ``along`` writes the ends of the axis.
    """
    points = [point for curve in curves for point in curve.points]
    low, high = _span([point.low for point in points] + [point.high for point in points])
    first, last = min(point.at for point in points), max(point.at for point in points)
    right = (2 * WIDTH if of == 1 else WIDTH) - RIGHT
    scale = _Scale(right=right, first=first, last=last, low=low, high=high)
    begin, end = along(first, last)
    levels = [_level(value, scale.at(first, value)[1], right) for value in (low, (low + high) / 2, high)]
    drawn = [_band(curve, scale) for curve in curves] + [_line(curve, scale) for curve in curves]
    return (
        f'<g transform="translate({index % 2 * WIDTH},{top + index // 2 * HEIGHT})">'
        f'<text x="{LEFT}" y="18" font-size="13" font-weight="bold">{escape(name)}</text>'
        f'<text x="{right}" y="18" text-anchor="end">{escape(note)}</text>{"".join(levels)}{"".join(drawn)}'
        f'<text x="{LEFT}" y="{HEIGHT - 12}">{begin}</text>'
        f'<text x="{right}" y="{HEIGHT - 12}" text-anchor="end">{end}</text></g>'
    )


def document(title: str, height: int, body: str) -> str:
    """Return a whole picture, as wide as two panels."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{height}" '
        f'viewBox="0 0 {2 * WIDTH} {height}" font-family="sans-serif" font-size="11" fill="{INK}">'
        f'<title>{escape(title)}</title><rect width="100%" height="100%" fill="white"/>{body}</svg>\n'
    )


def shown(names: Iterable[str]) -> list[str]:
    """Return the metrics that have a panel, sorted: no metric's own error has."""
    return sorted(name for name in set(names) if not name.endswith("_error"))


def _band(curve: Curve, scale: _Scale) -> str:
    if all(point.low == point.high for point in curve.points):
        return ""
    above = [(point.at, point.high) for point in curve.points]
    below = [(point.at, point.low) for point in reversed(curve.points)]
    return f'<polygon points="{scale.path([*above, *below])}" fill="{curve.colour}" fill-opacity="0.15"/>'


def _line(curve: Curve, scale: _Scale) -> str:
    path = scale.path((point.at, point.value) for point in curve.points)
    width = 2 if len(curve.points) < MOST else 1.2
    dash = f' stroke-dasharray="{curve.dash}"' if curve.dash else ""
    x, y = scale.at(curve.points[-1].at, curve.points[-1].value)
    return (
        f'<polyline points="{path}" fill="none" stroke="{curve.colour}" stroke-width="{width}"{dash}/>'
        f'<circle cx="{x}" cy="{y}" r="3" fill="{curve.colour}"/>'
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    around = max(0.5, abs(low) * 1e-6)
    return low - around, high + around


def _level(value: float, y: float, right: int) -> str:
    return (
        f'<line x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}" stroke="{FAINT}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:.3g}</text>'
    )

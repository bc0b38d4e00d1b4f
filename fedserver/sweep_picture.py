"""The curves of a sweep as a picture: a panel a metric, a line a combination, a band of one standard deviation.

The colours are those of Okabe and Ito (2008), *Color Universal Design*, made for people with each kind of colour
blindness, with a deep blue in place of the yellow, which is faint on white. Where two are alike to some, dashes differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean

from hansa.fedserver.axes import HEIGHT, LEFT, Curve, Point, document, panel, shown, thin
from hansa.fedserver.sweep import Row, spread
from hansa.fedserver.target import falls

LOOKS = (
    ("#0072b2", ""),
    ("#d55e00", "7 3"),
    ("#009e73", "2 2"),
    ("#cc79a7", ""),
    ("#000000", "7 3"),
    ("#56b4e9", "2 2"),
    ("#e69f00", ""),
    ("#2010b8", "9 3 2 3"),
)
"""Colour and dash of each line; neighbours differ in both, and alike colours in the dash."""
FIRST = ("accuracy", "server_accuracy", "auc", "server_auc", "loss", "server_loss")
"""By which metric the best are picked, where there are too many: the first that is there."""
ENTRY, LONGEST = 18, 100
"""The height of a line of the legend, and the characters that fit on it."""


def curves(table: Sequence[Row], title: str) -> str:
    """Draw the combinations of which a seed finished, at most as many as there are looks: then the best ones."""
    there = {row.label: found for row in table if (found := _series(row))}
    names = shown(name for found in there.values() for name in found)
    drawn, note = _best(there, names)
    looks = dict(zip(drawn, LOOKS, strict=False))
    top = ENTRY * (len(drawn) + bool(note)) + 10
    panels = [
        panel(
            i,
            name,
            [_curve(there[one][name], looks[one]) for one in drawn if name in there[one]],
            of=len(names),
            top=top,
        )
        for i, name in enumerate(names)
        if any(name in there[one] for one in drawn)
    ]
    seeds = {row.label: len(row.finished) for row in table}
    legend = [_entry(i, f"{one} ({_count(seeds[one])})", looks[one]) for i, one in enumerate(drawn)]
    if note:
        legend.append(f'<text x="{LEFT}" y="{ENTRY * (len(drawn) + 1)}">{escape(note)}</text>')
    return document(title, top + max(1, -(-len(names) // 2)) * HEIGHT, "".join([*legend, *panels]))


def _series(row: Row) -> dict[str, list[Point]]:
    """Return mean and band of each metric, over the seeds that have it at a round."""
    values: dict[str, dict[int, list[float]]] = {}
    for run in row.finished:
        for name, points in run.series.items():
            for number, value in points:
                values.setdefault(name, {}).setdefault(number, []).append(value)
    return {name: [_point(number, found) for number, found in sorted(at.items())] for name, at in values.items()}


def _point(number: int, values: Sequence[float]) -> Point:
    found = spread(values)
    return Point(number, found.mean, found.mean - (found.std or 0.0), found.mean + (found.std or 0.0))


def _best(there: Mapping[str, Mapping[str, Sequence[Point]]], names: Sequence[str]) -> tuple[list[str], str]:
    """Return the combinations to draw, in their own order, and a note where some are left out."""
    if len(there) <= len(LOOKS):
        return list(there), ""
    by = next((name for name in [*FIRST, *names] if name in names), "")
    sign = 1 if falls(by) else -1
    measured = [one for one in there if by in there[one]]
    best = sorted(measured, key=lambda one: sign * there[one][by][-1].value)[: len(LOOKS)]
    note = f"{len(best)} of {len(there)} combinations: the best by {by} in the end; sweep.csv has all"
    return [one for one in there if one in best], note


def _curve(points: Sequence[Point], look: tuple[str, str]) -> Curve:
    return Curve(points=thin(points, low=fmean, high=fmean), colour=look[0], dash=look[1])


def _entry(index: int, text: str, look: tuple[str, str]) -> str:
    short = text if len(text) <= LONGEST else f"{text[: LONGEST // 2 - 1]}…{text[-LONGEST // 2 :]}"
    y, dash = ENTRY * (index + 1), f' stroke-dasharray="{look[1]}"' if look[1] else ""
    return (
        f"<g><title>{escape(text)}</title>"
        f'<line x1="20" x2="{LEFT - 8}" y1="{y - 4}" y2="{y - 4}" stroke="{look[0]}" stroke-width="2.5"{dash}/>'
        f'<text x="{LEFT}" y="{y}">{escape(short)}</text></g>'
    )


def _count(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"

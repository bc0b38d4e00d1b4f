"""The curves of a run as a picture: one small panel a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hansa.fedserver.axes import HEIGHT, Along, Curve, Point, document, panel, rounds, shown, thin, times
from hansa.fedserver.records import RoundRecord


def curves(records: Sequence[RoundRecord], title: str) -> str:
    """Draw every metric over rounds, two panels a row, but no metric's own error; a run without any is blank.

    Of a long run the line is the mean of neighbouring rounds, within a band from the least to the greatest of them.
    """
    return _panels(all_series(records), title, rounds)


def over_time(records: Sequence[RoundRecord], title: str) -> str:
    """Draw the same over virtual time: each value at the end of its round."""
    ends = {record.round: record.virtual.until for record in records if record.virtual is not None}
    series = {
        name: [(ends[number], value) for number, value in points if number in ends]
        for name, points in all_series(records).items()
    }
    return _panels({name: points for name, points in series.items() if points}, title, times)


def _panels(found: Mapping[str, Sequence[tuple[float, float]]], title: str, along: Along) -> str:
    names = shown(found)
    panels = [
        panel(index, name, [_curve(found[name])], of=len(names), note=f"{found[name][-1][1]:.4g}", along=along)
        for index, name in enumerate(names)
    ]
    return document(title, max(1, -(-len(panels) // 2)) * HEIGHT, "".join(panels))


def all_series(records: Sequence[RoundRecord]) -> dict[str, list[tuple[int, float]]]:
    """Return every metric that has finite values, and these by round, from round 1."""
    names = sorted({name for record in records for name in record.metrics})
    return {name: points for name in names if (points := _series(records, name))}


def _series(records: Sequence[RoundRecord], name: str) -> list[tuple[int, float]]:
    values = [(record.round, record.metrics.get(name)) for record in records if record.round > 0]
    return [(number, value) for number, value in values if value is not None and math.isfinite(value)]


def _curve(points: Sequence[tuple[float, float]]) -> Curve:
    return Curve(points=thin([Point(number, value, value, value) for number, value in points]))

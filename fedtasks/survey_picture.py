"""Who has what, as a picture: above how many examples each client has, below what share of them has which label.

To 60 clients each has a column, in the order of names. More are ordered, by size above and by their main label below,
so that the columns run together to areas that can be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from hansa.fedtasks.canvas import LINE, Anchor, Area, Point, Rule, Shape, Words, box
from hansa.fedtasks.survey import Survey, spread
from hansa.strategies.types import Array

WIDTH, LEFT, RIGHT, TOP, PANEL, BETWEEN, LEGEND = 960, 72, 24, 94, 210, 62, 44
COLUMNS = 60
"""Clients that have a column each."""
PALETTE = ["#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f"]
PALETTE += ["#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac"]
SCALE = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]])
"""From dark violet over green to yellow, for more labels than the palette has colours."""
STEEP = 30
"""Where the largest of many clients has so many times what the median has, the scale is logarithmic."""
LETTER = 6.2
"""About the width of a letter."""


def picture(survey: Survey, title: str) -> tuple[list[Shape], int, int]:
    """Return the shapes, the width and the height."""
    lower = TOP + PANEL + BETWEEN
    shapes = [*_head(survey, title), *_sizes(survey)]
    if not len(survey.labels_C):
        return shapes, WIDTH, TOP + PANEL + BETWEEN - 20
    shapes += [*_shares(survey, lower), *_legend(survey, lower + PANEL + LEGEND)]
    return shapes, WIDTH, lower + PANEL + LEGEND + 34


def _head(survey: Survey, title: str) -> list[Shape]:
    seen = f"{len(survey.clients):,} of {survey.population:,}" if len(survey.clients) < survey.population else ""
    facts = [f"{seen or f'{survey.population:,}'} clients", f"{int(survey.sizes_K.sum()):,} examples"]
    if len(survey.labels_C):
        facts += [f"{len(survey.labels_C):,} labels", f"imbalance {survey.imbalance:.2f}"]
    return [
        Words(at=(LEFT, 28), text=title, size=15, bold=True),
        Words(at=(LEFT, 49), text=", ".join(facts), size=12),
    ]


def _sizes(survey: Survey) -> list[Shape]:
    many, base = len(survey.clients) > COLUMNS, float(TOP + PANEL)
    steep = many and survey.sizes_K.max() > STEEP * max(1, np.median(survey.sizes_K))
    tick_T, height_T = _powers(survey.sizes_K) if steep else _ticks(int(survey.sizes_K.max()))
    scaled_K, scaled_T = (np.log(np.maximum(x, 1)) if steep else np.asarray(x) for x in (survey.sizes_K, tick_T))
    height_K = PANEL * np.interp(scaled_K, scaled_T, height_T)
    caption = f"examples a client{' (logarithmic)' if steep else ''}: {spread(survey.sizes_K)}"
    shapes: list[Shape] = [Words(at=(LEFT, TOP - 14), text=caption, size=13)]
    for tick, height in zip(tick_T, height_T, strict=True):
        shapes += _level(f"{tick:,}", base - PANEL * height)
    if many:
        upper_K = base - np.sort(height_K)[::-1]
        return [*shapes, _area(upper_K, np.full(len(upper_K), base), LINE), *_ends("largest", "smallest", base)]
    if len(survey.labels_C):
        columns = _stacks(survey.counts_KC * PANEL / tick_T[-1], base)
    else:
        columns = _stacks(height_K[:, None], base, [LINE])
    return [*shapes, *columns, *_names(survey.clients, base)]


def _shares(survey: Survey, top: int) -> list[Shape]:
    base = top + PANEL
    share_KC = survey.counts_KC / np.maximum(survey.sizes_K, 1)[:, None]
    shapes: list[Shape] = [Words(at=(LEFT, top - 14), text="share of each label at a client", size=13)]
    shapes += [shape for tick in (0, 0.5, 1) for shape in _level(f"{tick:.0%}", base - PANEL * tick)]
    if len(survey.clients) <= COLUMNS:
        return [*shapes, *_stacks(share_KC * PANEL, base), *_names(survey.clients, base)]
    share_KC = share_KC[np.lexsort((-share_KC.max(1), share_KC.argmax(1)))]
    edge_KC1 = base - PANEL * np.cumsum(np.hstack([np.zeros((len(share_KC), 1)), share_KC]), axis=1)
    for (lower_K, upper_K), colour in zip(pairwise(edge_KC1.T), colours(share_KC.shape[1]), strict=True):
        if (lower_K > upper_K).any():
            shapes.append(_area(upper_K, lower_K, colour))
    return [*shapes, Words(at=(LEFT, base + 18), text="clients, by the label of which they have most")]


def _stacks(height_KC: Array, base: float, fills: Sequence[str] = ()) -> list[Shape]:
    """Return a column a client, of pieces on top of each other."""
    fills = fills or colours(height_KC.shape[1])
    pitch = (WIDTH - LEFT - RIGHT) / len(height_KC)
    gap = min(0.25 * pitch, 12)
    shapes: list[Shape] = []
    for k, height_C in enumerate(height_KC):
        top = base - np.cumsum(height_C)
        parts = zip(top, height_C, fills, strict=True)
        x = LEFT + k * pitch + gap / 2
        shapes += [box(x, float(y), pitch - gap, float(height), fill) for y, height, fill in parts if height > 0]
    return shapes


def _area(upper_K: Array, lower_K: Array, fill: str) -> Area:
    """Return the area between two lines that go in steps, one a client."""
    x_K1 = np.linspace(LEFT, WIDTH - RIGHT, len(upper_K) + 1)
    return Area(points=(*_steps(x_K1, upper_K), *reversed(_steps(x_K1, lower_K))), fill=fill)


def _steps(x_K1: Array, y_K: Array) -> list[Point]:
    """Return the corners of a line that goes in steps, without those in the midst of a straight piece."""
    begins_K = np.concatenate([[True], np.diff(y_K) != 0])
    places = [*np.flatnonzero(begins_K), len(y_K)]
    return [(float(x_K1[place]), float(y_K[start])) for start, stop in pairwise(places) for place in (start, stop)]


def _level(text: str, y: float) -> list[Shape]:
    return [
        Rule(start=(LEFT, y), end=(WIDTH - RIGHT, y)),
        Words(at=(LEFT - 8, y + 4), text=text, anchor="end"),
    ]


def _names(clients: Sequence[str], base: float) -> list[Shape]:
    """Return the names below their columns, without what all begin with; where they do not fit, first and last."""
    pitch = (WIDTH - LEFT - RIGHT) / len(clients)
    short = [name.removeprefix("client-") for name in clients]
    for names in (clients, short):
        if LETTER * max(map(len, names)) < pitch - 4:
            return [
                Words(at=(LEFT + (k + 0.5) * pitch, base + 18), text=name, anchor="middle")
                for k, name in enumerate(names)
            ]
    return _ends(clients[0], clients[-1], base)


def _ends(first: str, last: str, base: float) -> list[Shape]:
    ends: tuple[tuple[float, str, Anchor], ...] = ((LEFT, first, "start"), (WIDTH - RIGHT, last, "end"))
    return [Words(at=(x, base + 18), text=text, anchor=anchor) for x, text, anchor in ends]


def _legend(survey: Survey, y: float) -> list[Shape]:
    labels, fills = [str(label) for label in survey.labels_C], colours(len(survey.labels_C))
    if len(labels) > len(PALETTE):
        width = 240 / len(labels)
        shapes: list[Shape] = [box(LEFT + 60 + c * width, y, width + 0.5, 12, fill) for c, fill in enumerate(fills)]
        shapes += [Words(at=(LEFT, y + 10), text="labels"), Words(at=(LEFT + 52, y + 10), text=labels[0], anchor="end")]
        return [*shapes, Words(at=(LEFT + 310, y + 10), text=labels[-1])]
    shapes = [Words(at=(LEFT, y + 10), text="labels")]
    pitch = max(46, 24 + LETTER * max(map(len, labels)))
    for c, (label, fill) in enumerate(zip(labels, fills, strict=True)):
        shapes += [box(LEFT + 52 + c * pitch, y, 12, 12, fill)]
        shapes += [Words(at=(LEFT + 69 + c * pitch, y + 10), text=label)]
    return shapes


def colours(labels: int) -> list[str]:
    """Return a colour for each label: of the palette, or of a scale where that is too short.

    >>> colours(2), colours(101)[50]
    (['#4e79a7', '#f28e2b'], '#21918c')
    """
    if labels <= len(PALETTE):
        return PALETTE[:labels]
    at_C, stop_S = np.linspace(0, 1, labels), np.linspace(0, 1, len(SCALE))
    rgb_C3 = np.stack([np.interp(at_C, stop_S, part_S) for part_S in SCALE.T], axis=1).round().astype(int)
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in rgb_C3.tolist()]


def _ticks(largest: int) -> tuple[list[int], list[float]]:
    """Return levels in steps of 1, 2 or 5 times a power of ten, to the largest number or above, and their heights.

    >>> _ticks(2011)
    ([0, 500, 1000, 1500, 2000, 2500], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    >>> _ticks(3)[0], _ticks(0)[0]
    ([0, 1, 2, 3], [0, 1])
    """
    power = 10 ** max(0, math.floor(math.log10(max(largest, 1) / 5)))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5 >= largest)
    steps = max(1, math.ceil(largest / step))
    return [step * i for i in range(steps + 1)], [i / steps for i in range(steps + 1)]


def _powers(size_K: Array) -> tuple[list[int], list[float]]:
    """Return the powers of ten around sizes, and their heights.

    >>> _powers(np.array([45, 20_648]))[0]
    [10, 100, 1000, 10000, 100000]
    """
    low = math.floor(math.log10(max(1, size_K.min())))
    high = math.ceil(math.log10(size_K.max()))
    return [10**i for i in range(low, high + 1)], [(i - low) / (high - low) for i in range(low, high + 1)]

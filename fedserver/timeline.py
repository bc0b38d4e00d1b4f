"""The last round of virtual clients as a picture: a bar a client, from when it was asked until it was done or gone.

The colours are those of Okabe and Ito (2008), *Color Universal Design*.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from hansa.fedserver.axes import FAINT, INK, WIDTH, document, duration
from hansa.fedserver.records import RoundRecord, Trip

PHASES = {"download": "#56b4e9", "compute": "#0072b2", "upload": "#009e73"}
WAITING = FAINT
ENDS = {"cancelled": "#e69f00", "dropped": "#d55e00", "absent": "#cc79a7"}
TOP, BOTTOM, RIGHT, NAMED, UNNAMED = 66, 34, 20, 130, 20
TALL, ROW, LEAST = 800, 18.0, 1.6
"""Pixels of all bars together at most, and of one bar at most and at least."""
READABLE, LETTERS = 9.0, 20
"""Pixels of a bar that has its client's name beside it, and how much of the name."""
MARK = 4.0
"""Pixels of the mark where somebody was cancelled or dropped."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Where clients and times are in the picture, which begins at ``begin``; ``starts`` are when requests began."""

    clients: Sequence[str]
    begin: float
    starts: Sequence[float]
    until: float

    @property
    def row(self) -> float:
        return min(ROW, TALL / max(1, len(self.clients)))

    @property
    def left(self) -> int:
        return NAMED if self.row >= READABLE else UNNAMED

    def x(self, time: float) -> float:
        span = (self.until - self.begin) or 1.0
        return round(self.left + (2 * WIDTH - self.left - RIGHT) * (time - self.begin) / span, 1)

    def bar(self, place: int, start: float, end: float) -> str:
        """Return a bar's outline, in pixels along and by place across."""
        high = self.row * 0.8 if self.row >= READABLE else self.row
        y = TOP + self.row * place
        return f"M{start:g} {y:.1f}H{end:g}v{high:.1f}H{start:g}Z"

    def over(self, trip: Trip) -> float:
        """Return when the request that a trip belongs to was over: at the latest when the next one began."""
        after = bisect_left(self.starts, trip.end)
        return self.starts[after] if after < len(self.starts) else self.until


def timeline(record: RoundRecord, title: str) -> str:
    """Draw a round that took virtual time; of very many clients an even choice, from the first done to the last."""
    assert record.virtual is not None
    trips = record.virtual.timeline
    ends: dict[str, float] = {}
    for trip in trips:
        ends.setdefault(trip.client, trip.end)
    order = sorted(ends, key=lambda client: (ends[client], client))
    most = min(len(order), int(TALL / LEAST))
    shown = [order[i * len(order) // most] for i in range(most)]
    begin = min((trip.at for trip in trips), default=record.virtual.until)
    plan = _Plan(clients=shown, begin=begin, starts=_starts(trips), until=record.virtual.until)
    places = {client: place for place, client in enumerate(shown)}
    drawn = [trip for trip in trips if trip.client in places]
    head = f"round {record.round}: {duration(record.virtual.seconds)} of virtual time"
    if most < len(order):
        head += f"; {most} of its {len(order)} clients"
    body = [_text(UNNAMED, 18, head, 'font-size="13" font-weight="bold"'), *_legend(trips), *_axis(plan, drawn)]
    body += [*_names(plan), *_bars(plan, drawn, places)]
    return document(title, round(TOP + plan.row * len(shown) + BOTTOM), "".join(body))


def _starts(trips: Iterable[Trip]) -> list[float]:
    """Return when requests began: with several clients, or else, where all go by themselves, with any."""
    counts = Counter(trip.at for trip in trips)
    return sorted([at for at, count in counts.items() if count > 1] or counts)


def _bars(plan: _Plan, trips: Iterable[Trip], places: dict[str, int]) -> list[str]:
    """Draw all bars of one colour as one path, which keeps the picture of hundreds of clients small."""
    paths: dict[str, list[str]] = {colour: [] for colour in (WAITING, *PHASES.values(), *ENDS.values())}
    for trip in trips:
        place, now = places[trip.client], trip.at
        for phase, colour in PHASES.items():
            then = now + getattr(trip, phase)
            if then > now:
                paths[colour].append(plan.bar(place, plan.x(now), plan.x(then)))
            now = then
        if trip.fate == "counted":
            paths[WAITING].append(plan.bar(place, plan.x(now), plan.x(plan.over(trip))))
        else:
            end = plan.x(now)
            paths[ENDS[trip.fate]].append(plan.bar(place, max(plan.left, end - MARK / 2), end + MARK / 2))
    return [f'<path d="{"".join(path)}" fill="{colour}"/>' for colour, path in paths.items() if path]


def _names(plan: _Plan) -> list[str]:
    if plan.row < READABLE:
        return []
    return [
        _text(NAMED - 6, round(TOP + plan.row * (place + 0.6)), _short(client), 'text-anchor="end" font-size="9"')
        for place, client in enumerate(plan.clients)
    ]


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"


def _axis(plan: _Plan, trips: Iterable[Trip]) -> list[str]:
    """Draw the time, and a line where each request began, with its name where there is room."""
    bottom = round(TOP + plan.row * len(plan.clients))
    found = [
        _text(plan.left, bottom + 20, "0 s"),
        _text(2 * WIDTH - RIGHT, bottom + 20, duration(plan.until - plan.begin), 'text-anchor="end"'),
    ]
    names = {trip.at: trip.endpoint for trip in trips}
    free = 0.0
    for start in plan.starts:
        x = plan.x(start)
        found.append(f'<line x1="{x}" x2="{x}" y1="{TOP - 6}" y2="{bottom}" stroke="{INK}" stroke-width="0.5"/>')
        if x >= free and start in names:
            found.append(_text(x, TOP - 10, names[start]))
            free = x + 6.2 * len(names[start])
    return found


def _legend(trips: Iterable[Trip]) -> list[str]:
    """Say what colours mean, and how many requests to clients ended how."""
    fates = Counter(trip.fate for trip in trips)
    words = PHASES | {f"{fates['counted']} counted, waiting": WAITING}
    told = {"absent": "not there"}
    words |= {f"{fates[fate]} {told.get(fate, fate)}": colour for fate, colour in ENDS.items()}
    found, x = [], float(UNNAMED)
    for word, colour in words.items():
        found.append(f'<rect x="{x:g}" y="29" width="10" height="10" fill="{colour}"/>{_text(x + 14, 38, word)}')
        x += 28 + 6.2 * len(word)
    return found


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:g}" y="{y}"{style and " " + style}>{escape(text)}</text>'

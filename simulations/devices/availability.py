"""When devices are there: hours of the day by each client's clock, or windows from a trace.

Phones take part while they are idle, charging and on a free network, which is mostly at night (Bonawitz et al. 2019,
"Towards federated learning at scale", sections 2 and 9); sensors with solar cells by day.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hansa.simulations.devices.check import demand
from hansa.simulations.devices.luck import WIDEST, Luck
from hansa.simulations.devices.trace import Trace

HOUR, DAY = 3600.0, 86400.0
FAR = 400
"""Days that are looked ahead for a client's next window."""

Window = tuple[float, float]


class Windows(Protocol):
    """When each client is there: a function of its name and the time alone."""

    @property
    def always(self) -> bool:
        """Whether everybody is there all the time."""
        ...

    def until(self, client: str, now: float) -> float | None:
        """Return until when a client that is there now stays; None where it is not there."""
        ...

    def next(self, client: str, now: float) -> float:
        """Return from when on a client is there again: now, where it is; infinity, where it never is."""
        ...


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Each client is there once a day, with probability ``chance``, from about ``start`` o'clock for about ``hours``.

    Both vary from day to day with a standard deviation of ``jitter`` hours. Clients' clocks are spread evenly over
    ``zones`` time zones; virtual time begins at midnight in the first of them. 24 ``hours`` with certainty are all the
    time. A ``trace`` is a CSV file with the windows of each client, in place of all this. Raises DeviceError.
    """

    start: float = 0.0
    hours: float = 24.0
    jitter: float = 0.0
    chance: float = 1.0
    zones: int = 1
    trace: str | None = None

    def __post_init__(self) -> None:
        demand("availability.start", self.start, most=24)
        demand("availability.hours", self.hours, most=24, above=True)
        demand("availability.jitter", self.jitter, most=3)
        demand("availability.chance", self.chance, most=1, above=True)
        demand("availability.zones", self.zones, least=1, most=24)

    def windows(self, luck: Luck, names: Sequence[str]) -> Windows:
        """Return the windows of these clients; raises DeviceError for a trace that cannot be read or is of others."""
        if self.trace is not None:
            return Trace.read(Path(self.trace), names)
        return Daily(self, luck)


@dataclass(frozen=True)
class Daily:
    """Windows by the hour of a client's day."""

    rule: Availability
    luck: Luck

    @property
    def always(self) -> bool:
        return self.rule.hours == 24 and self.rule.chance == 1

    def until(self, client: str, now: float) -> float | None:
        if self.always:
            return math.inf
        stop = now
        for _ in range(FAR):  # a window may go over into that of the next day
            later = max((end for begin, end in self._around(client, stop) if begin <= stop < end), default=stop)
            if later == stop:
                break
            stop = later
        return stop if stop > now else None

    def next(self, client: str, now: float) -> float:
        if self.until(client, now) is not None:
            return now
        first = self._day(client, now, self.rule.hours + 2 * WIDEST * self.rule.jitter)
        for day in range(first, first + FAR):  # jitter may put the next day's window before this one's
            begins = [window[0] for one in (day, day + 1) for window in self._on(client, one) if window[0] >= now]
            if begins:
                return min(begins)
        return math.inf

    def _around(self, client: str, now: float) -> Iterator[Window]:
        """Yield all windows that may hold a time."""
        wide = WIDEST * self.rule.jitter
        for day in range(self._day(client, now, self.rule.hours + 2 * wide), self._day(client, now, -wide) + 1):
            yield from self._on(client, day)

    def _day(self, client: str, now: float, back: float) -> int:
        """Return the day whose window begins, without jitter, at or before so many hours ago."""
        return math.floor((now + self._zone(client) - HOUR * (self.rule.start + back)) / DAY)

    def _on(self, client: str, day: int) -> Iterator[Window]:
        """Yield a day's window, if there is one."""
        rule, luck = self.rule, self.luck
        if luck.uniform("day", client, day) >= rule.chance:
            return
        late, longer = (rule.jitter and rule.jitter * luck.normal(what, client, day) for what in ("start", "hours"))
        begin = DAY * day + HOUR * (rule.start + late) - self._zone(client)
        yield begin, begin + HOUR * max(0.0, rule.hours + longer)

    def _zone(self, client: str) -> float:
        """Return by how much a client's clock is ahead, in seconds."""
        zones = self.rule.zones
        return HOUR * math.floor(zones * self.luck.uniform("zone", client)) if zones > 1 else 0.0

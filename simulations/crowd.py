"""Who of a simulation's clients is there: lists, cohorts, and the next time at which somebody is."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass

from hansa.fedserver.selection.there import knows
from hansa.simulations.devices import Windows
from hansa.simulations.errors import DeviceError
from hansa.strategies import Context
from hansa.strategies.pipeline import Names

FEW, MOST = 10_000, 20
"""Clients that are simply listed; and of more, how many are looked at for each one that is to be drawn."""
TRIES = 1000
"""Moments that are looked at until enough clients are there at once."""


@dataclass(frozen=True)
class Crowd:
    """Clients by name, and when each of them is there. Where that is always, none of it takes any time."""

    names: Names
    windows: Windows

    def here(self, now: float) -> Names:
        """Return those who are there; it looks at each client, a few microseconds."""
        if self.windows.always:
            return self.names
        return tuple(name for name in self.names if self.windows.until(name, now) is not None)

    def draw(self, ctx: Context, size: int | None, now: float) -> Names:
        """Draw so many of those who are there, uniformly without replacement; all of them where there are fewer.

        Of a large crowd clients are drawn until enough of them are there, which is the same distribution and looks at
        about size / (share of those who are there) clients; only where ``MOST`` size are too few it looks at all.
        """
        if size is not None and self._many(size) and (drawn := self._reject(ctx, size, now)):
            return drawn
        here = self.here(now)
        return here if size is None or size >= len(here) else ctx.sample(here, size)

    def _many(self, size: int) -> bool:
        """Whether drawing so many by rejection is cheaper than looking at all."""
        return not self.windows.always and len(self.names) > max(FEW, 2 * MOST * size)

    def _reject(self, ctx: Context, size: int, now: float) -> Names:
        """Draw by rejection; empty where too few of those who were drawn are there."""
        rng = ctx.secret("", "cohort of those who are there")
        seen, found = set[int](), list[int]()
        while len(seen) < MOST * size:
            for place in rng.integers(len(self.names), size=size).tolist():
                if place not in seen and self.windows.until(self.names[place], now) is not None:
                    found.append(place)
                    if len(found) == size:
                        return tuple(self.names[i] for i in sorted(found))
                seen.add(place)
        return ()

    def _enough(self, least: int, now: float) -> bool:
        """Whether so many are there; it looks at about least / (share of those who are there) clients."""
        here = (name for name in self.names if self.windows.until(name, now) is not None)
        return sum(1 for _ in itertools.islice(here, least)) == least

    def soonest(self, least: int, now: float) -> float:
        """Return the next time at which so many are there at once: now, where they are.

        Raises DeviceError where that is never so.
        """
        if self.windows.always or self._enough(least, now):
            return now
        start = now
        for _ in range(TRIES):
            times = heapq.nsmallest(least, (self.windows.next(name, now) for name in self.names))
            if times[-1] == now:
                return now
            if times[-1] == math.inf:
                break
            now = times[-1]
        raise DeviceError(
            f"after {start:.0f} s of virtual time there are never {least} clients at once: lower cohort.min, or let "
            "clients be there for longer (devices.availability)."
        )


@dataclass(frozen=True)
class Here:
    """A crowd at one moment: a ``There``."""

    crowd: Crowd
    now: float

    @property
    def names(self) -> Names:
        return self.crowd.names

    @property
    def count(self) -> int | None:
        return len(self.names) if self.crowd.windows.always else None

    def here(self, name: str) -> bool:
        windows = self.crowd.windows
        return knows(self.names, name) and (windows.always or windows.until(name, self.now) is not None)

    def all(self) -> Names:
        return self.crowd.here(self.now)

    def sample(self, ctx: Context, size: int | None) -> Names:
        return self.crowd.draw(ctx, size, self.now)

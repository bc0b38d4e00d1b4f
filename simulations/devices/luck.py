"""Chance by key, cheaply: one hash a number, and no generator to set up for each of many clients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from hansa.strategies.keys import derive

WIDEST = 4.0
"""Standard deviations at which a normal is cut off: one draw in 16,000."""
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Luck:
    """What befalls clients, by (purpose, client, round, request, day, ...); nothing is drawn twice or in an order."""

    key: bytes

    def uniform(self, purpose: str, client: str, *numbers: int) -> float:
        """Return a number above 0 and below 1."""
        drawn = int.from_bytes(derive(self.key, purpose, client, *numbers)[:7], "little") >> 4
        return (drawn + 0.5) / 2**52

    def normal(self, purpose: str, client: str, *numbers: int) -> float:
        """Return a standard normal, cut off at ``WIDEST`` to either side."""
        drawn = _NORMAL.inv_cdf(self.uniform(purpose, client, *numbers))
        return min(WIDEST, max(-WIDEST, drawn))

    def factor(self, sigma: float, purpose: str, client: str, *numbers: int) -> float:
        """Return a log-normal of median 1, the exponential of a normal of standard deviation sigma."""
        return math.exp(sigma * self.normal(purpose, client, *numbers)) if sigma else 1.0

"""Poisson sampling: each client takes part with the same probability, independently of all others.

With N clients, of which ``cohort.size`` are wanted:

    rate  = size / N
    count ~ Binomial(N, rate)
    drawn = count of the N names, uniformly without replacement

A binomial count of uniform names is N independent coins (so many heads, and which ones), but looks at the drawn alone.
Of the drawn those take part who are there, which is Poisson sampling of those who are there with the same rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hansa.fedserver.policy import CohortPolicy
from hansa.fedserver.selection.check import demand_size
from hansa.fedserver.selection.selection import POISSON, Draw, DrawFlow, Memory, Sampling, at_once
from hansa.strategies import RoundLost
from hansa.strategies.pipeline import Names


@dataclass(frozen=True, kw_only=True)
class Poisson:
    """Draw each client with the rate ``cohort.size`` / clients.

    A draw above ``cohort.max`` is cut uniformly to it; one below ``cohort.min`` loses the round.
    """

    learns: ClassVar[bool] = False
    asks: ClassVar[bool] = False

    def check(self, cohort: CohortPolicy) -> None:
        demand_size("poisson", cohort, over=False)

    def start(self, names: Sequence[str] | None) -> Memory:
        return None

    def draw(self, memory: Memory, draw: Draw) -> DrawFlow:
        drawn = self._drawn(draw)
        if len(drawn) < draw.cohort.min:
            raise RoundLost(
                f"a Poisson draw took {len(drawn)} of {len(draw.there.names)} clients, fewer than "
                f"cohort.min={draw.cohort.min}: raise cohort.size, or lost_rounds to let more such draws pass."
            )
        return at_once(drawn, memory)

    def sampling(self, draw: Draw) -> Sampling:
        return Sampling(POISSON, _rate(draw))

    def _drawn(self, draw: Draw) -> Names:
        names, rng = draw.there.names, draw.ctx.secret("", "poisson cohort")
        count = rng.binomial(len(names), _rate(draw))
        places = rng.choice(len(names), count, replace=False).tolist()
        here = [place for place in places if draw.there.here(names[place])]
        return tuple(names[place] for place in sorted(here[: draw.cohort.max]))


def _rate(draw: Draw) -> float:
    """Return the share of all clients that is wanted."""
    return min(1.0, draw.size / max(1, len(draw.there.names)))

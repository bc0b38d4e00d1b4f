"""Oort: clients that have much to teach and are quick, and always some new ones (Lai et al. 2021, arXiv:2010.06081).

In round R, of size clients epsilon * size are explored: drawn uniformly from those of whom no loss is known.

    epsilon = max(least, explore * decay^(R - 1))

The others are exploited, drawn in proportion to their utility from those that come near the best. Of a client n that
was last counted in round last_n and takes seconds_n to train, with T = ``seconds``:

    gain_n    = examples_n * loss_n, at most the 95th percentile, over the largest
    utility_n = (gain_n + sqrt(0.1 ln(R) / last_n)) * (T / seconds_n)^penalty   the last factor only where seconds_n > T
    kept      = those with utility_n >= 0.95 * (the utility in place size - epsilon * size)

What differs from the paper: the mean loss stands for the root of the mean squared loss, which tasks do not tell; the
pacer, which moves T in the course of a run, is left out, and so are the list of clients that were drawn too often, the
preference for quick clients when exploring, and noise on the utilities.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hansa.fedserver.errors import SelectionError
from hansa.fedserver.policy import CohortPolicy
from hansa.fedserver.selection.check import demand_size
from hansa.fedserver.selection.proportional import proportional
from hansa.fedserver.selection.selection import Draw, DrawFlow, Memory, Seen
from hansa.strategies import RoundLost
from hansa.strategies.losses import ask_losses
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array

CLIP, NEAR, STALE = 95.0, 0.95, 0.1
"""The percentile at which gains are cut, how near the best is near, and the weight of the bonus for being stale."""


@dataclass(frozen=True, kw_only=True)
class Oort:
    """Draw by utility. With ``ask`` the drawn tell their losses before they train; else those count that are known.

    ``explore`` is the share of new clients in round 1, which falls by ``decay`` each round down to ``least``.
    ``seconds`` is how long training may take without a ``penalty`` (empty: the median of what was measured).
    """

    learns: ClassVar[bool] = True

    explore: float = 0.9
    decay: float = 0.98
    least: float = 0.2
    seconds: float | None = None
    penalty: float = 2.0
    ask: bool = True

    @property
    def asks(self) -> bool:
        return self.ask

    def check(self, cohort: CohortPolicy) -> None:
        demand_size("oort", cohort)
        if not 0 <= self.least <= self.explore <= 1 or not 0 < self.decay <= 1:
            raise SelectionError(
                f"selection: explore={self.explore}, least={self.least}, decay={self.decay}: needs "
                "0 <= least <= explore <= 1 and 0 < decay <= 1."
            )
        if self.penalty < 0 or (self.seconds is not None and self.seconds <= 0):
            raise SelectionError(
                f"selection: penalty={self.penalty}, seconds={self.seconds}: needs penalty >= 0, and seconds above 0 "
                "or empty."
            )

    def start(self, names: Sequence[str] | None) -> Memory:
        return None

    def draw(self, memory: Memory, draw: Draw) -> DrawFlow:
        known = {name: seen for name, seen in sorted(draw.seen.items()) if seen.loss is not None}
        here = {name: seen for name, seen in known.items() if seen.examples != 0 and draw.there.here(name)}
        exploring = draw.size - min(len(here), draw.size - round(self.epsilon(draw.ctx.round) * draw.size))
        new = self._new(known, exploring, draw)
        drawn = tuple(sorted((*new, *self._best(here, draw.size - len(new), draw))))
        if self.ask:
            with contextlib.suppress(RoundLost):  # the round itself will say who does not answer
                yield from ask_losses(draw.payload, drawn, draw.cohort.max)
        return drawn, memory

    def sampling(self, draw: Draw) -> None:
        """Nothing: who takes part depends on the clients' data and on how fast they are."""

    def epsilon(self, round: int) -> float:
        """Return the share of new clients.

        >>> Oort().epsilon(1), Oort().epsilon(1000)
        (0.9, 0.2)
        """
        return max(self.least, self.explore * self.decay ** (round - 1))

    def utilities(self, here: Mapping[str, Seen], round: int) -> Array:
        """Return utility_N of clients whose losses are known."""
        gain_N = np.array([(seen.examples or 1.0) * max(0.0, seen.loss or 0.0) for seen in here.values()])
        gain_N = np.minimum(gain_N, np.percentile(gain_N, CLIP))
        last_N = np.array([max(1, seen.round) for seen in here.values()])
        bonus_N = np.sqrt(STALE * math.log(round) / last_N)
        return np.asarray((gain_N / (gain_N.max() or 1.0) + bonus_N) * self._speed(here))

    def _speed(self, here: Mapping[str, Seen]) -> Array:
        """Return the factor by which slow clients count less; 1 where no time was measured."""
        measured = [seen.seconds for seen in here.values() if seen.seconds is not None]
        wanted = self.seconds or (statistics.median(measured) if measured else math.inf)
        return np.array([min(1.0, wanted / (seen.seconds or wanted)) ** self.penalty for seen in here.values()])

    def _best(self, here: Mapping[str, Seen], size: int, draw: Draw) -> list[str]:
        """Draw by utility from those that come near the best."""
        if size == 0 or not here:
            return []
        utility_N, names = self.utilities(here, draw.ctx.round), list(here)
        bar = NEAR * np.sort(utility_N)[::-1][min(size, len(names)) - 1]
        kept = np.flatnonzero(utility_N >= bar)
        places = proportional(draw.ctx.secret("", "oort exploits"), np.maximum(utility_N[kept], 1e-12), size)
        return [names[kept[place]] for place in places]

    def _new(self, known: Mapping[str, Seen], size: int, draw: Draw) -> Names:
        """Draw clients of whom nothing is known: of as many more as are known at least so many are new."""
        new = [name for name in draw.there.sample(draw.ctx, size + len(known)) if name not in known]
        places = draw.ctx.secret("", "oort explores").choice(len(new), min(size, len(new)), replace=False)
        return tuple(new[place] for place in places.tolist())

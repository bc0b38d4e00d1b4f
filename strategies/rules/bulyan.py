"""Bulyan over Krum (El Mhamdi et al. 2018, arXiv:1802.07927, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.strategies.checks import at_least
from hansa.strategies.columns import middle, ordered
from hansa.strategies.errors import CompositionError, RoundLost, StrategyError
from hansa.strategies.rules.distances import squared_distances
from hansa.strategies.rules.krum import scores
from hansa.strategies.rules.rule import Rule, enough
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Bulyan(Rule):
    """Select rows by Krum, one after the other, then take a trimmed mean of them. With f = ``byzantine`` of G wrong,

        S: theta = G - 2f times the row of the least Krum score among those that are left, with R - f - 2 neighbours
           while R rows are left (at least 1),
        y_p = mean of the beta = theta - 2f entries of S at p that are nearest to their median.

    It needs G >= 4f + 3. Krum alone lets one coordinate of a selected row be far off; here no coordinate can.
    """

    byzantine: int = 1

    def __post_init__(self) -> None:
        at_least("strategy.rule.byzantine", self.byzantine, 0)

    def check(self, rows: int, error: type[StrategyError] = CompositionError) -> None:
        who, less = f"Bulyan with byzantine={self.byzantine}", "lower strategy.rule.byzantine, or have more clients"
        enough(rows, 4 * self.byzantine + 3, who, less, error)

    def selects(self, rows: int) -> int:
        return rows - 2 * self.byzantine

    def __call__(self, rows_GP: Array, last_P: Array | None = None) -> Array:
        self.check(len(rows_GP), RoundLost)
        chosen = self._selected(squared_distances(rows_GP))
        mean_P = np.empty(rows_GP.shape[1], np.float32)
        for where, sorted_CS in ordered(rows_GP, chosen):
            mean_P[where] = nearest_mean(sorted_CS, len(chosen) - 2 * self.byzantine)
        return mean_P

    def _selected(self, distance_GG: Array) -> list[int]:
        left, chosen = list(range(len(distance_GG))), list[int]()
        while len(chosen) < self.selects(len(distance_GG)):
            score_R = scores(distance_GG[np.ix_(left, left)], max(1, len(left) - self.byzantine - 2))
            chosen.append(left.pop(int(np.argmin(score_R))))
        return sorted(chosen)


def nearest_mean(sorted_CS: Array, kept: int) -> Array:
    """Return the mean of the entries nearest to the median of each sorted column, shape (C,), float64.

    They stand side by side: of all windows of that size, theirs has the least distance from the median to its ends.
    """
    middle_C1 = middle(sorted_CS)[:, None]
    windows = sorted_CS.shape[1] - kept + 1
    reach_CW = np.maximum(middle_C1 - sorted_CS[:, :windows], sorted_CS[:, kept - 1 :] - middle_C1)
    first_C1 = np.argmin(reach_CW, axis=1)[:, None]
    return np.asarray(np.take_along_axis(sorted_CS, first_C1 + np.arange(kept), axis=1).mean(axis=1, dtype=np.float64))

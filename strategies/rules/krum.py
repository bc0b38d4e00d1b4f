"""Krum and Multi-Krum (Blanchard et al. 2017, arXiv:1703.02757, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.strategies.checks import at_least
from hansa.strategies.columns import combined
from hansa.strategies.errors import CompositionError, RoundLost, StrategyError
from hansa.strategies.rules.distances import squared_distances
from hansa.strategies.rules.rule import Rule, enough
from hansa.strategies.types import Array


def scores(distance_GG: Array, neighbours: int) -> Array:
    """Return the sum of squared distances from each row to its nearest others, shape (G,)."""
    others_GG = np.where(np.eye(len(distance_GG), dtype=bool), np.inf, distance_GG)
    return np.asarray(np.sort(others_GG, axis=1)[:, :neighbours].sum(axis=1))


@dataclass(frozen=True, kw_only=True)
class Krum(Rule):
    """Take the mean of the m rows that lie closest to their neighbours. With f = ``byzantine`` of G rows x_g wrong,

        s_g = sum of |x_g - x_h|^2 over the G - f - 2 rows h that are nearest to g,
        y = mean of the m rows of the least s_g;    of equal ones the first by name.

    m = ``keep``; 1 is Krum, more is Multi-Krum, and 0 stands for G - f. It needs G >= 2f + 3.
    """

    byzantine: int = 1
    keep: int = 1

    def __post_init__(self) -> None:
        at_least("strategy.rule.byzantine", self.byzantine, 0)
        at_least("strategy.rule.keep", self.keep, 0)

    def check(self, rows: int, error: type[StrategyError] = CompositionError) -> None:
        who, less = f"Krum with byzantine={self.byzantine}", "lower strategy.rule.byzantine, or have more clients"
        enough(rows, 2 * self.byzantine + 3, who, less, error)
        enough(rows, self.keep, f"Krum with keep={self.keep}", "lower strategy.rule.keep, or have more clients", error)

    def selects(self, rows: int) -> int:
        return self.keep or rows - self.byzantine

    def __call__(self, rows_GP: Array, last_P: Array | None = None) -> Array:
        rows = len(rows_GP)
        self.check(rows, RoundLost)
        score_G = scores(squared_distances(rows_GP), rows - self.byzantine - 2)
        share_G = np.zeros(rows)
        share_G[np.argsort(score_G, kind="stable")[: self.selects(rows)]] = 1 / self.selects(rows)
        return combined(rows_GP, share_G).astype(np.float32)

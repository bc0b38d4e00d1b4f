"""The coordinate-wise trimmed mean (Yin et al. 2018, arXiv:1803.01498, algorithm 1, option II)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hansa.strategies.columns import ordered
from hansa.strategies.errors import CompositionError, RoundLost, StrategyError
from hansa.strategies.rules.rule import Rule, enough
from hansa.strategies.types import Array

SLACK = 1e-9
"""What a product of a share and a number of rows may be above a whole number by rounding alone."""


@dataclass(frozen=True, kw_only=True)
class TrimmedMean(Rule):
    """Leave out the k smallest and the k largest entries of each coordinate, and take the mean of the rest:

        y_p = 1 / (G - 2k) sum of x_(k+1)p, ..., x_(G-k)p    with x_(1)p <= ... <= x_(G)p,    k = ceil(trim * G).

    ``trim`` is a share of the rows, to be at least the share of wrong ones.
    """

    trim: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.trim < 0.5:
            raise CompositionError(
                f"strategy.rule.trim={self.trim}: it is a share of the clients at each end, from 0 to below 0.5."
            )

    def check(self, rows: int, error: type[StrategyError] = CompositionError) -> None:
        remedy = "lower strategy.rule.trim, or have more clients"
        enough(rows, 2 * self._cut(rows) + 1, f"a mean trimmed by {self.trim}", remedy, error)

    def __call__(self, rows_GP: Array, last_P: Array | None = None) -> Array:
        self.check(len(rows_GP), RoundLost)
        cut = self._cut(len(rows_GP))
        kept = slice(cut, len(rows_GP) - cut)
        mean_P = np.empty(rows_GP.shape[1], np.float32)
        for where, sorted_CG in ordered(rows_GP):
            mean_P[where] = np.mean(sorted_CG[:, kept], axis=1, dtype=np.float64)
        return mean_P

    def _cut(self, rows: int) -> int:
        return math.ceil(self.trim * rows - SLACK)

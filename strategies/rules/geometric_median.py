"""The geometric median by the smoothed Weiszfeld algorithm: RFA (Pillutla et al. 2022, arXiv:1912.13445)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.strategies.checks import above, at_least
from hansa.strategies.columns import combined, norms
from hansa.strategies.rules.rule import Rule
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class GeometricMedian(Rule):
    """Move towards the point whose distances from all rows x_g sum to the least. From y = 0, ``passes`` times,

        b_g = 1 / max(smoothing, |x_g - y|),    y <- sum_g b_g x_g / sum_g b_g.

    It begins at no change of the model, where no client can move it. All clients weigh the same.
    """

    passes: int = 4
    smoothing: float = 1e-6

    def __post_init__(self) -> None:
        at_least("strategy.rule.passes", self.passes, 1)
        above("strategy.rule.smoothing", self.smoothing, 0)

    def __call__(self, rows_GP: Array, last_P: Array | None = None) -> Array:
        point_P = np.zeros(rows_GP.shape[1])
        for _ in range(self.passes):
            weight_G = 1 / np.maximum(self.smoothing, norms(rows_GP, point_P))
            point_P = combined(rows_GP, weight_G / weight_G.sum())
        return point_P.astype(np.float32)

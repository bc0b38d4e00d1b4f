"""Centred clipping (Karimireddy et al. 2021, arXiv:2012.10333, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hansa.strategies.checks import above, at_least
from hansa.strategies.columns import combined, norms
from hansa.strategies.rules.rule import Rule
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class CentredClipping(Rule):
    """Clip the rows x_g around the last aggregate v, ``passes`` times:

        v <- v + 1/G sum_g (x_g - v) min(1, radius / |x_g - v|).

    One row moves it by radius / G in a pass, whatever it holds. In the first round v is 0. ``radius`` is to be about
    the distance between honest updates.
    """

    remembers: ClassVar[bool] = True

    radius: float = 1.0
    passes: int = 1

    def __post_init__(self) -> None:
        above("strategy.rule.radius", self.radius, 0)
        at_least("strategy.rule.passes", self.passes, 1)

    def __call__(self, rows_GP: Array, last_P: Array | None = None) -> Array:
        centre_P = np.zeros(rows_GP.shape[1]) if last_P is None else last_P.astype(np.float64)
        for _ in range(self.passes):
            share_G = self.radius / np.maximum(self.radius, norms(rows_GP, centre_P)) / len(rows_GP)
            centre_P = (1 - share_G.sum()) * centre_P + combined(rows_GP, share_G)
        return centre_P.astype(np.float32)

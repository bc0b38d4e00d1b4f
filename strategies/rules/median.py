"""The coordinate-wise median (Yin et al. 2018, arXiv:1803.01498, algorithm 1, option I)."""

from __future__ import annotations

from dataclasses import dataclass

from hansa.strategies.aggregate import median
from hansa.strategies.rules.rule import Rule
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Median(Rule):
    """Take the median of each coordinate over the rows x_g:

        y_p = median_g x_gp.

    It withstands wrong rows of fewer than half of the clients.
    """

    def __call__(self, rows_GP: Array, last_P: Array | None = None) -> Array:
        return median(rows_GP)

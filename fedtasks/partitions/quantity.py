"""Quantity skew: the clients' shares of all examples come from a Dirichlet distribution.

Li et al. 2022 (NIID-Bench, arXiv:2102.02079): q ~ Dir_K(alpha), and client k has the share q_k of the
examples, drawn from all classes alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.fedtasks.partitions.dirichlet import DRAWS, too_small
from hansa.fedtasks.partitions.partition import Partition, Pool, Rows, at_least, sized
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Quantity(Partition):
    """Sizes from Dir(``alpha``), drawn again, 100 times at most, until all have ``min_partition_size`` examples."""

    alpha: float = 0.5
    min_partition_size: int = 10

    def __post_init__(self) -> None:
        at_least("alpha", self.alpha, 0, above=True)
        at_least("min_partition_size", self.min_partition_size, 1)

    def deal(self, pool: Pool, rng: np.random.Generator) -> Rows:
        return Rows.cut(rng.permutation(len(pool.labels_N)), self._sizes(pool, rng))

    def _sizes(self, pool: Pool, rng: np.random.Generator) -> Array:
        best_K = np.zeros(len(pool.clients), np.int64)
        for _ in range(DRAWS):
            sizes_K = sized(len(pool.labels_N), rng.dirichlet(np.full(len(pool.clients), self.alpha)))
            if sizes_K.min() >= self.min_partition_size:
                return sizes_K
            best_K = max(best_K, sizes_K, key=lambda drawn_K: int(drawn_K.min()))
        raise too_small(self.min_partition_size, best_K, pool)

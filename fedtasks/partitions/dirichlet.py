"""Label skew: the examples of each class are cut up by shares from a Dirichlet distribution.

Yurochkin et al. 2019 (arXiv:1905.12022): for every class c, p_c ~ Dir_K(alpha), and client k has the share p_ck of the
examples of that class. With alpha to infinity all clients are alike, with alpha to 0 each class lies at one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.fedtasks.errors import OptionError, listed
from hansa.fedtasks.partitions.partition import Partition, Pool, Rows, at_least
from hansa.strategies.types import Array

DRAWS = 100
"""Draws until it is said that no draw gives everybody enough."""


@dataclass(frozen=True, kw_only=True)
class Dirichlet(Partition):
    """Shares of each class from Dir(``alpha``) (``DirichletPartitioner`` of flwr-datasets).

    A draw that leaves a client with fewer than ``min_partition_size`` examples is drawn again, 100 times at most. With
    ``self_balancing`` a client that has more than the mean gets none of the classes that follow.
    """

    alpha: float = 0.5
    min_partition_size: int = 10
    self_balancing: bool = False

    def __post_init__(self) -> None:
        at_least("alpha", self.alpha, 0, above=True)
        at_least("min_partition_size", self.min_partition_size, 1)

    def deal(self, pool: Pool, rng: np.random.Generator) -> Rows:
        _, class_N, count_C = np.unique(pool.labels_N, return_inverse=True, return_counts=True)
        sizes_CK = self._sizes(count_C, pool, rng)
        by_class_N = rng.permutation(len(class_N))
        by_class_N = by_class_N[np.argsort(class_N[by_class_N], kind="stable")]
        owner_N = np.repeat(np.tile(np.arange(len(pool.clients)), len(count_C)), sizes_CK.reshape(-1))
        return Rows.cut(by_class_N[np.argsort(owner_N, kind="stable")], sizes_CK.sum(0))

    def _sizes(self, count_C: Array, pool: Pool, rng: np.random.Generator) -> Array:
        best_CK = np.zeros((len(count_C), len(pool.clients)), np.int64)
        for _ in range(DRAWS):
            sizes_CK = self._draw(count_C, len(pool.clients), rng)
            if sizes_CK.sum(0).min() >= self.min_partition_size:
                return sizes_CK
            best_CK = max(best_CK, sizes_CK, key=lambda drawn_CK: int(drawn_CK.sum(0).min()))
        raise too_small(self.min_partition_size, best_CK.sum(0), pool)

    def _draw(self, count_C: Array, clients: int, rng: np.random.Generator) -> Array:
        sizes_CK = np.zeros((len(count_C), clients), np.int64)
        for c, count in enumerate(count_C):
            share_K = rng.dirichlet(np.full(clients, self.alpha))
            if self.self_balancing:
                share_K = _balanced(share_K, sizes_CK.sum(0) <= count_C.sum() / clients)
            until_K = np.cumsum(share_K)
            sizes_CK[c] = np.diff((until_K / until_K[-1] * count).astype(np.int64), prepend=0)
        return sizes_CK


def _balanced(share_K: Array, open_K: Array) -> Array:
    """Give the shares of those that have enough to the others; evenly, where theirs are too small for a float."""
    share_K = np.where(open_K, share_K, 0.0)
    total = float(share_K.sum())
    return np.asarray(share_K / total if total > 0 else open_K / open_K.sum())


def too_small(least: int, sizes_K: Array, pool: Pool) -> OptionError:
    """Say that no draw gave everybody enough, and who had too little in the best one."""
    small = [pool.clients[int(k)] for k in np.flatnonzero(sizes_K < least)]
    return OptionError(
        f"partition.min_partition_size={least}: none of {DRAWS} draws gave every client that many examples; the best "
        f"one left too few, {sizes_K.min()} at the least, to {listed(small)}: raise partition.alpha, lower "
        "partition.min_partition_size, or use fewer clients."
    )

"""Everybody has a sample of the whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.fedtasks.partitions.partition import Partition, Pool, Rows, even


@dataclass(frozen=True, kw_only=True)
class Iid(Partition):
    """Examples are dealt out at random, in parts that differ by at most one (``IidPartitioner`` of flwr-datasets)."""

    def deal(self, pool: Pool, rng: np.random.Generator) -> Rows:
        order_N = rng.permutation(len(pool.labels_N))
        return Rows.cut(order_N, even(len(order_N), len(pool.clients)))

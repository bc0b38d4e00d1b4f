"""Quantity skew by the client's place: examples are dealt out at random, more to each client than to the one before."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from hansa.fedtasks.partitions.partition import Partition, Pool, Rows, sized
from hansa.strategies.types import Array


class Growing(Partition):
    """Sizes are a function of the place k = 1 ... K, and the same for every split."""

    @abstractmethod
    def weights(self, place_K: Array) -> Array:
        """Return the weight of each place."""

    def deal(self, pool: Pool, rng: np.random.Generator) -> Rows:
        place_K = np.arange(1, len(pool.clients) + 1, dtype=np.float64)
        sizes_K = sized(len(pool.labels_N), self.weights(place_K))
        return Rows.cut(rng.permutation(len(pool.labels_N)), sizes_K)

"""Label skew: examples sorted by label, cut into shards, and the shards dealt out.

McMahan et al. 2017 (arXiv:1602.05629): MNIST in 200 shards of 300, two for each of 100 clients, so that most
clients have examples of two digits only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.fedtasks.errors import OptionError
from hansa.fedtasks.partitions.partition import Partition, Pool, Rows, at_least, even
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Shards(Partition):
    """Shards of neighbours in the order of labels (``ShardPartitioner`` of flwr-datasets).

    Every client gets ``num_shards_per_partition`` shards of ``shard_size`` examples. Without a size the shards are as
    large as they can be; without a number all shards are dealt out, as evenly as can be. What is left over is not used,
    or, with ``keep_incomplete_shard``, makes the last shard where only a size is given, and some shards one larger
    where only a number is.
    """

    num_shards_per_partition: int | None = 2
    shard_size: int | None = None
    keep_incomplete_shard: bool = False

    def __post_init__(self) -> None:
        for name in ("num_shards_per_partition", "shard_size"):
            if (value := getattr(self, name)) is not None:
                at_least(name, value, 1)
        if self.num_shards_per_partition is None and self.shard_size is None:
            raise OptionError("partition: give num_shards_per_partition, or shard_size, or both.")

    def deal(self, pool: Pool, rng: np.random.Generator) -> Rows:
        order_N = rng.permutation(len(pool.labels_N))
        order_N = order_N[np.argsort(pool.labels_N[order_N], kind="stable")]
        sizes_S = self._shards(len(order_N), len(pool.clients))
        shards = Rows.cut(order_N, sizes_S)
        dealt_S = rng.permutation(len(shards))
        parts = np.split(dealt_S, np.cumsum(self._each(len(shards), len(pool.clients))))[:-1]
        return Rows.of([np.concatenate([order_N[:0], *(shards[s] for s in part)]) for part in parts])

    def _shards(self, examples: int, clients: int) -> Array:
        """Return the sizes of all shards."""
        number = None if self.num_shards_per_partition is None else self.num_shards_per_partition * clients
        if number is not None and self.shard_size is None and self.keep_incomplete_shard:
            return even(examples, number)
        size = self.shard_size or examples // (number or 1)
        if size == 0 or size * (number or 0) > examples:
            raise OptionError(
                f"partition: {clients} clients with {self.num_shards_per_partition} shards each of {max(size, 1)} need "
                f"more than the {examples} examples there are: use fewer clients, or fewer or smaller shards."
            )
        sizes_S = np.full(examples // size, size)
        if self.keep_incomplete_shard and number is None and examples % size:
            sizes_S = np.append(sizes_S, examples % size)
        return sizes_S

    def _each(self, shards: int, clients: int) -> Array:
        """Return how many shards each client gets."""
        if self.num_shards_per_partition is None:
            return even(shards, clients)
        return np.full(clients, self.num_shards_per_partition)

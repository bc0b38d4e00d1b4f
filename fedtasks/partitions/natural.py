"""The partition that the data has by itself: by who wrote, spoke or measured it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.fedtasks.errors import OptionError
from hansa.fedtasks.partitions.partition import Partition, Pool, Rows, even
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Natural(Partition):
    """All examples of one source stay together (``NaturalIdPartitioner`` of flwr-datasets).

    The sources are dealt out at random, in even numbers: one a client where there are as many clients as sources.
    ``partition_by`` is the column that names the source, for a task that reads tables.
    """

    partition_by: str | None = None

    def deal(self, pool: Pool, rng: np.random.Generator) -> Rows:
        if pool.ids_N is None:
            raise OptionError("partition=natural: this task does not know its examples' sources: choose another one.")
        ids, source_N = np.unique(pool.ids_N, return_inverse=True)
        if len(ids) < len(pool.clients):
            raise OptionError(
                f"partition=natural: {len(ids)} sources cannot be dealt out to {len(pool.clients)} clients: "
                f"choose {len(ids)} clients at most."
            )
        each_K = even(len(ids), len(pool.clients))
        owner_S = np.empty(len(ids), np.int64)
        owner_S[self._order(len(ids), len(pool.clients), rng)] = np.repeat(np.arange(len(pool.clients)), each_K)
        owner_N = owner_S[source_N]
        return Rows.cut(np.argsort(owner_N, kind="stable"), np.bincount(owner_N, minlength=len(pool.clients)))

    def _order(self, sources: int, clients: int, rng: np.random.Generator) -> Array:
        """Return the order in which sources are dealt out; their own where each is a client."""
        return np.arange(sources) if sources == clients else rng.permutation(sources)

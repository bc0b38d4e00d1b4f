"""Quantity skew: sizes that grow in a straight line."""

from __future__ import annotations

from dataclasses import dataclass

from hansa.fedtasks.partitions.growing import Growing
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Linear(Growing):
    """Client k has a size proportional to k (``LinearPartitioner`` of flwr-datasets)."""

    def weights(self, place_K: Array) -> Array:
        return place_K

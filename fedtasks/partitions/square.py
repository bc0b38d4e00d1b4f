"""Quantity skew: sizes that grow as squares."""

from __future__ import annotations

from dataclasses import dataclass

from hansa.fedtasks.partitions.growing import Growing
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Square(Growing):
    """Client k has a size proportional to k^2 (``SquarePartitioner`` of flwr-datasets)."""

    def weights(self, place_K: Array) -> Array:
        return place_K**2

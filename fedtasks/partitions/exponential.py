"""Quantity skew: sizes that grow by a factor."""

from __future__ import annotations

from dataclasses import dataclass
from math import e

import numpy as np

from hansa.fedtasks.partitions.growing import Growing
from hansa.fedtasks.partitions.partition import at_least
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Exponential(Growing):
    """Client k has a size proportional to ``base``^k (``ExponentialPartitioner`` of flwr-datasets, whose base is e)."""

    base: float = e

    def __post_init__(self) -> None:
        at_least("base", self.base, 1, above=True)

    def weights(self, place_K: Array) -> Array:
        return np.asarray(self.base ** (place_K - place_K[-1]))

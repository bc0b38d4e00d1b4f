"""Feature skew: every client has noise of its own strength on its inputs.

Li et al. 2022 (NIID-Bench, arXiv:2102.02079): client k = 1 ... K adds Gau(sigma k / K) to its inputs, Gaussian noise of
mean 0 and that variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.fedtasks.partitions.iid import Iid
from hansa.fedtasks.partitions.partition import at_least
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Noise(Iid):
    """Examples are dealt out at random; client k of K adds noise of variance ``sigma`` k / K to its training inputs.

    The noise is keyed by the client's name, and is the same whenever the client's data is read.
    """

    sigma: float = 0.1

    def __post_init__(self) -> None:
        at_least("sigma", self.sigma, 0)

    def alter(self, inputs: Array, place: int, clients: int, rng: np.random.Generator) -> Array:
        scale = np.sqrt(self.sigma * (place + 1) / clients)
        return np.asarray(inputs + (scale * rng.standard_normal(inputs.shape)).astype(inputs.dtype))

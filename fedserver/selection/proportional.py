"""Drawing without replacement, one after the other, each with a probability in proportion to its weight.

Exponential clocks do it at once (Efraimidis and Spirakis 2006): with e_n ~ Exp(1) the clock of n rings at

    rings_N = e_N / weights_N

and the first to ring are the drawn; each is the next with probability weight / (sum of the weights that are left).
"""

from __future__ import annotations

import numpy as np

from hansa.strategies.types import Array


def proportional(rng: np.random.Generator, weights_N: Array, size: int) -> list[int]:
    """Return the places of at most so many, in the order in which they are drawn; a weight of 0 is never drawn."""
    with np.errstate(divide="ignore"):
        rings_N = rng.exponential(size=len(weights_N)) / weights_N
    first = np.argsort(rings_N, kind="stable")[:size]
    return [int(place) for place in first if weights_N[place] > 0]

"""Bucketing (Karimireddy et al. 2022, arXiv:2006.09365, algorithm 1)."""

from __future__ import annotations

import numpy as np

from hansa.strategies.types import Array


def bucketed(rows_GP: Array, size: int, draw: np.random.Generator) -> Array:
    """Return the means of rows put into buckets by a random permutation pi, shape (ceil(G / size), P), float32:

        y_b = mean of x_pi(g) for g in b * size, ..., (b + 1) * size - 1;    the last bucket may be smaller.

    Means differ less than rows do, which helps a rule where clients' data differ. One wrong row spoils one bucket.
    """
    if size == 1:
        return rows_GP
    order_G = draw.permutation(len(rows_GP))
    buckets = [np.sort(order_G[start : start + size]) for start in range(0, len(order_G), size)]
    means_BP = np.empty((len(buckets), rows_GP.shape[1]), np.float32)
    for mean_P, bucket in zip(means_BP, buckets, strict=True):
        mean_P[:] = sum(rows_GP[g].astype(np.float64) for g in bucket) / len(bucket)
    return means_BP

"""Squared distances between rows in float64, in blocks of columns.

Rows are centred on their coordinate-wise median m before they are multiplied:

    e_g = x_g - m,    |x_g - x_h|^2 = e_g.e_g + e_h.e_h - 2 e_g.e_h.

A minority cannot move m far, so that wrong rows, however large, take no digits from the distances of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hansa.strategies.columns import STEP, blocks, middle
from hansa.strategies.types import Array

TILE = 64
"""Rows of one product: TILE * TILE * STEP is as much as a BLAS multiplies on one core. So the bits do not depend on its
threads, and no thread waits for another where the cores are busy."""

THREADS, SHARE = 2, 16
"""Threads, and the blocks that one takes at a time. Shares are added in their order, whichever is ready first."""


def squared_distances(rows_GP: Array) -> Array:
    """Return |x_g - x_h|^2, shape (G, G), float64, never below 0."""
    columns, upper_GG = list(blocks(rows_GP)), np.zeros((len(rows_GP), len(rows_GP)))
    shares = [columns[start : start + SHARE] for start in range(0, len(columns), SHARE)]
    with ThreadPoolExecutor(THREADS) as pool:
        for share_GG in pool.map(lambda share: _products(rows_GP, share), shares):
            upper_GG += share_GG
    product_GG = np.triu(upper_GG) + np.triu(upper_GG, 1).T
    square_G = np.diagonal(product_GG)
    return np.maximum(square_G[:, None] + square_G[None] - 2 * product_GG, 0)


def _products(rows_GP: Array, share: Sequence[slice]) -> Array:
    """Return the inner products of centred rows over some blocks, shape (G, G); those below the diagonal may be 0."""
    upper_GG = np.zeros((len(rows_GP), len(rows_GP)))
    for where in share:
        _add_products(upper_GG, _centred(rows_GP[:, where]))
    return upper_GG


def _centred(rows_GC: Array) -> Array:
    """Return e of a block, padded with zeros and cut into steps: shape (C / STEP, STEP, G), float64."""
    rows, columns = rows_GC.shape
    padded_CG = np.zeros((-(-columns // STEP) * STEP, rows), rows_GC.dtype)
    padded_CG[:columns] = rows_GC.T
    middle_C = middle(np.sort(padded_CG, axis=1))
    return np.subtract(padded_CG, middle_C[:, None], dtype=np.float64).reshape(-1, STEP, rows)


def _add_products(upper_GG: Array, centred_SKG: Array) -> None:
    tiles = [slice(start, start + TILE) for start in range(0, len(upper_GG), TILE)]
    for i, left in enumerate(tiles):
        left_STK = centred_SKG[:, :, left].transpose(0, 2, 1)
        for right in tiles[i:]:
            upper_GG[left, right] += np.matmul(left_STK, centred_SKG[:, :, right]).sum(axis=0)

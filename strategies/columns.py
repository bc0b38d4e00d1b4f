"""Walks over the columns of rows_GP, a block at a time: temporary memory is about a megabyte, however long rows are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hansa.strategies.types import Array

STEP = 64
"""Blocks are multiples of so many columns wide, but for the last."""
ENTRIES = 2**16
"""Entries of a block; they stay in a core's cache, in float64 too."""
ALL = slice(None)


def blocks(rows_GP: Array) -> Iterator[slice]:
    """Walk over the columns in blocks."""
    rows, columns = rows_GP.shape
    width = max(STEP, ENTRIES // rows // STEP * STEP)
    for start in range(0, columns, width):
        yield slice(start, min(start + width, columns))


def ordered(rows_GP: Array, used: Sequence[int] | slice = ALL) -> Iterator[tuple[slice, Array]]:
    """Yield blocks of columns of the used rows, with the entries of each column sorted, shape (C, G)."""
    for where in blocks(rows_GP):
        sorted_CG = rows_GP[used, where].T.copy()
        sorted_CG.sort(axis=1)
        yield where, sorted_CG


def middle(sorted_CG: Array) -> Array:
    """Return the median of each sorted column, shape (C,)."""
    rows = sorted_CG.shape[1]
    return np.asarray((sorted_CG[:, (rows - 1) // 2] + sorted_CG[:, rows // 2]) / 2)


def norms(rows_GP: Array, point_P: Array) -> Array:
    """Return each row's L2 distance from a point, shape (G,), float64."""
    square_G = np.zeros(len(rows_GP))
    for where in blocks(rows_GP):
        gap_GC = np.subtract(rows_GP[:, where], point_P[where], dtype=np.float64)
        square_G += np.einsum("gc,gc->g", gap_GC, gap_GC)
    return np.sqrt(square_G)


def products(rows_GP: Array, point_P: Array) -> Array:
    """Return each row's inner product with a vector, shape (G,), float64."""
    product_G = np.zeros(len(rows_GP))
    for where in blocks(rows_GP):
        product_G += np.einsum("gc,c->g", rows_GP[:, where].astype(np.float64), point_P[where].astype(np.float64))
    return product_G


def combined(rows_GP: Array, share_G: Array) -> Array:
    """Return sum_g share_g row_g, shape (P,), float64."""
    sum_P, used = np.empty(rows_GP.shape[1]), np.flatnonzero(share_G)
    for where in blocks(rows_GP):
        sum_P[where] = np.einsum("g,gc->c", share_G[used], rows_GP[used, where].astype(np.float64))
    return sum_P

"""Sums of reals that are the same to the bit in any order: int64 fixed point.

An entry x of a channel whose cap is at most 2^e enters a sum of at most R rows as

    v = rint(float64(x) * 2^k),    k = 62 - ceil(log2 R) - e,

so that R entries of magnitude up to 2^e cannot leave int64. Integers add associatively; so do these sums. The error
of a sum is at most R * 2^-(k+1).

A row that answers an old round is multiplied by its fade, 0 < s <= 1, in the channels that fade: v = rint(x * s * 2^k).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from hansa.strategies.errors import SumError
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.types import Array, Row

CHUNK = 8_192
"""Entries that are converted at once; they stay in a core's cache."""

MAGIC = 1.5 * 2.0**52
MAGIC_BITS = np.float64(MAGIC).view(np.int64)


def shift(cap: float, rows: int) -> int:
    """Return k, the binary places of a channel's fixed point.

    >>> shift(cap=2.0**16, rows=1024)
    36
    """
    return 62 - math.ceil(math.log2(rows)) - math.ceil(math.log2(cap))


def chunks(spec: Spec, fade: float = 1.0) -> Iterator[tuple[Channel, float, slice]]:
    """Walk over a row of reals in pieces of one channel and at most CHUNK entries, each with its scale s * 2^k."""
    for channel in spec.channels:
        where, scale = spec.slices[channel.name], 2.0 ** shift(channel.cap, spec.cohort.max)
        scale *= fade if channel.fades else 1.0
        for start in range(where.start, where.stop, CHUNK):
            yield channel, scale, slice(start, min(start + CHUNK, where.stop))


def kind(spec: Spec) -> np.dtype[np.generic]:
    """Return the type of a total: int64 for reals, the ring's own type otherwise."""
    return np.dtype(np.int64) if spec.domain == "real" else spec.dtype


def zeros(spec: Spec, groups: int) -> Array:
    """Return an empty total of shape (G, D)."""
    return np.zeros((groups, spec.dim), kind(spec))


def add(spec: Spec, total_D: Array, row_D: Row, fade: float = 1.0) -> None:
    """Add one row to a total, in place; rings have no fractions, and so their rows cannot fade.

    Raises SumError, naming the channel, where the row must not enter; the total is then as it was, to the bit.
    """
    if row_D.dtype != spec.dtype or row_D.shape != (spec.dim,):
        raise SumError(
            f"the row is {row_D.dtype}{list(row_D.shape)} where {spec.dtype}[{spec.dim}] is due: "
            "give both sides the same task and strategy."
        )
    if spec.domain == "real":
        _add_reals(spec, total_D, row_D, fade)
    elif fade == 1:
        _add_ring(spec, total_D, row_D)
    else:
        raise SumError("rows of integers cannot fade: set cohort.decay=0, or leave Quantise out.")


def to_reals(spec: Spec, total_GD: Array) -> Array:
    """Turn an int64 total into float64 in its own memory; the total is used up."""
    real_GD = total_GD.view(np.float64)
    for total_D, real_D in zip(total_GD, real_GD, strict=True):
        for _, scale, where in chunks(spec):
            real_D[where] = total_D[where] / scale
    return real_GD


def _add_reals(spec: Spec, total_D: Array, row_D: Row, fade: float) -> None:
    """Check and add in one walk, while a piece is in the core's cache; what turns out wrong later is taken back."""
    scaled, square, added = np.empty(min(CHUNK, spec.dim), np.float64), 0.0, 0
    try:
        for channel, scale, where in chunks(spec, fade):
            part, fixed = row_D[where], scaled[: where.stop - where.start]
            np.multiply(part, scale, out=fixed, dtype=np.float64)
            norm = math.sqrt(float(fixed @ fixed)) / scale
            if channel.nonnegative or not norm < channel.cap:  # no entry is larger than the norm, which is one pass
                _check_piece(channel, part)
            total_D[where] += _rounded(fixed, norm * scale)
            square += norm * norm
            added = where.stop
        if math.sqrt(square) > spec.l2 * (1 + 1e-9):
            raise SumError(f"the row's norm is {math.sqrt(square):g} where Bound allows {spec.l2:g}: see the client.")
    except SumError:
        _take_back(spec, total_D, row_D, added, fade)
        raise


def _rounded(fixed: Array, norm: float) -> Array:
    """Round float64 to int64, in its own memory where no entry is above 2^51.

    There adding 1.5 * 2^52 rounds as rint does, and leaves the integer in the lowest bits: three passes that vector
    units do, where a conversion goes entry by entry.
    """
    if not norm < 2.0**51:
        return np.rint(fixed, out=fixed).astype(np.int64)
    fixed += MAGIC
    whole = fixed.view(np.int64)
    whole -= MAGIC_BITS
    return whole


def _take_back(spec: Spec, total_D: Array, row_D: Row, added: int, fade: float) -> None:
    for _, scale, where in chunks(spec, fade):
        if where.stop <= added:
            total_D[where] -= np.rint(row_D[where] * np.float64(scale)).astype(np.int64)


def _check_piece(channel: Channel, part: Array) -> None:
    low, high = float(part.min()), float(part.max())
    if not (-channel.cap <= low and high <= channel.cap):
        raise SumError(_outside(channel, low, high))
    if channel.nonnegative and low < 0:
        raise SumError(f"channel {channel.name!r} holds {low:g} where nothing below 0 is possible: see the client.")


def _add_ring(spec: Spec, total_D: Array, row_D: Row) -> None:
    pieces = [slice(start, min(start + CHUNK, spec.dim)) for start in range(0, spec.dim, CHUNK)]
    for where in pieces:
        signed = row_D[where].view(np.int16 if spec.domain == "ring16" else np.int32)
        low, high = int(signed.min()), int(signed.max())
        if low < -spec.limit or high > spec.limit:
            raise SumError(f"a ring entry is {max(high, -low)} where Quantise allows {spec.limit}: see the client.")
    for where in pieces:
        total_D[where] += row_D[where]


def _outside(channel: Channel, low: float, high: float) -> str:
    worst = high if high > channel.cap or math.isnan(high) else low
    if not math.isfinite(worst):
        return f"channel {channel.name!r} holds {worst}: training diverged; lower client.lr, or mend the data."
    return (
        f"channel {channel.name!r} holds {worst:g}, above its cap of {channel.cap:g}: "
        "lower client.lr, or bound the channel with pipeline.bound.clip."
    )

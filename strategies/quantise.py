"""Reals to integers of a ring, by stochastic rounding."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hansa.strategies.errors import CompositionError
from hansa.strategies.keys import Context
from hansa.strategies.pipeline import Names, Pipeline
from hansa.strategies.spec import Spec
from hansa.strategies.types import Array

COARSEST = 64
"""The fewest steps from 0 to a row's bound; with fewer, small channels such as the loss are lost in rounding."""


@dataclass(frozen=True, kw_only=True)
class Quantise:
    """Round a bounded row, unbiased, to integers whose sum over a cohort cannot wrap in Z / 2^bits.

    With limit = floor((2^(bits-1) - 1) / cohort.max) and s = (limit - 1) / l2, an entry x becomes floor(x s + u), u
    uniform on [0, 1), clamped to +-limit. Computed in float64, keyed by client and request. A row of 16 bits is half
    the bytes of float32; its step is l2 / s, so let cohort.max be no larger than the cohort can be.
    """

    bits: Literal[16, 32] = 16

    def wrap(self, spec: Spec, inner: Callable[[Spec], Pipeline]) -> Pipeline:
        limit = self._limit(spec)
        step = spec.l2 / (limit - 1)
        grown = spec.l2 + step * math.sqrt(spec.dim)
        ring = replace(spec, domain="ring16" if self.bits == 16 else "ring32", l2=grown, limit=limit)
        signed = np.dtype("int16" if self.bits == 16 else "int32")
        nearer = inner(ring)

        def encode(rows_BD: Array, names: Names, ctx: Context) -> Array:
            u_BD = np.stack([ctx.secret(name, "round").random(spec.dim) for name in names])
            if not np.isfinite(rows_BD).all():
                raise FloatingPointError(
                    "the update is not finite: training diverged; lower client.lr, or mend the data"
                )
            whole_BD = np.clip(np.floor(rows_BD.astype(np.float64) / step + u_BD), -limit, limit)
            return nearer.encode(whole_BD.astype(signed).view(ring.dtype), names, ctx)

        def decode(totals_GD: Array, ctx: Context) -> Array:
            return np.asarray(nearer.decode(totals_GD, ctx).view(signed) * np.float64(step))

        return replace(nearer, encode=encode, decode=decode, row=spec, influence=max(grown, nearer.influence))

    def _limit(self, spec: Spec) -> int:
        if spec.domain != "real" or not math.isfinite(spec.l2):
            free = [channel.name for channel in spec.channels if not math.isfinite(channel.bound)]
            remedy = f"give pipeline.bound.clip a norm for {', '.join(free)}" if free else "put Bound before it, once"
            raise CompositionError(f"Quantise needs a bounded real row, else the sum may wrap: {remedy}.")
        limit: int = (2 ** (self.bits - 1) - 1) // spec.cohort.max
        if limit < COARSEST:
            raise CompositionError(
                f"Quantise: {self.bits} bits leave each of cohort.max={spec.cohort.max} rows only {limit} steps, too "
                "coarse to learn from: set pipeline.quantise.bits=32, or lower cohort.max to what a cohort can be."
            )
        return limit

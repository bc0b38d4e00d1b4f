"""Weigh a row and bound what one client can do to a sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hansa.strategies.errors import CompositionError
from hansa.strategies.exact import CHUNK
from hansa.strategies.keys import Context
from hansa.strategies.pipeline import Names, Pipeline
from hansa.strategies.spec import WEIGHT, Channel, Spec
from hansa.strategies.types import Array

SHRINK = 1 - 2.0**-22
"""Keeps the norm of a bounded row below 1 when its entries are rounded to float32."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Clip each channel on its own, weigh it by the client's examples, and scale the row to norm 1.

    With n examples, W = ``max_examples`` and weight w = min(n, W) / W, channel b of a row becomes

        x_b * min(1, C_b / |x_b|) * (w if weighted) * a_b / C_b,    sum of a_b^2 = 1,

    so that one number, 1, bounds the row for noise, quantiser and mask. ``clip`` gives C_b by channel name; the
    channel's own bound holds elsewhere. While one channel is unbounded the row has no bound and no channel is scaled.
    """

    clip: Mapping[str, float] | None = None
    max_examples: int = 2**20

    def wrap(self, spec: Spec, inner: Callable[[Spec], Pipeline]) -> Pipeline:
        self._check(spec)
        bounded = [replace(c, bound=(self.clip or {}).get(c.name, c.bound)) for c in spec.channels]
        finite = all(math.isfinite(channel.bound) for channel in bounded)
        share = 1 / math.sqrt(len(bounded))
        scales = [SHRINK * share / channel.bound if finite else 1.0 for channel in bounded]
        sent = tuple(replace(c, cap=1.0, bound=share) if finite else c for c in bounded)
        nearer = inner(replace(spec, channels=sent, l2=1.0 if finite else math.inf, weighed=True))

        def encode(rows_BD: Array, names: Names, ctx: Context) -> Array:
            return nearer.encode(self._encode(spec, bounded, scales, rows_BD), names, ctx)

        def decode(totals_GD: Array, ctx: Context) -> Array:
            sums_GD = nearer.decode(totals_GD, ctx)
            for channel, scale in zip(bounded, scales, strict=True):
                if scale != 1.0:
                    sums_GD[:, spec.slices[channel.name]] /= scale
            return sums_GD

        return replace(nearer, encode=encode, decode=decode, row=spec, influence=nearer.influence / min(scales))

    def _check(self, spec: Spec) -> None:
        if spec.domain != "real" or spec.weighed or math.isfinite(spec.l2):
            raise CompositionError("Bound needs rows that are real and not bounded yet: put it first, and once.")
        if self.max_examples < 1:
            raise CompositionError(f"pipeline.bound.max_examples={self.max_examples}: it must be at least 1.")
        for name, bound in (self.clip or {}).items():
            if name not in spec.slices:
                raise CompositionError(
                    f"pipeline.bound.clip: the row has no channel {name!r}: name any of {', '.join(spec.slices)}."
                )
            if name == WEIGHT.name:
                raise CompositionError(
                    "pipeline.bound.clip.weight: a weight is at most 1 as it is: set pipeline.bound.max_examples."
                )
            if not bound > 0:
                raise CompositionError(f"pipeline.bound.clip.{name}={bound}: a clipping norm must be above 0.")
        if any(channel.weighted for channel in spec.channels) and WEIGHT.name not in spec.slices:
            raise CompositionError(
                "weighted channels need a 'weight' channel in the row: add spec.WEIGHT to its channels."
            )

    def _encode(self, spec: Spec, channels: list[Channel], scales: list[float], rows_BD: Array) -> Array:
        out_BD = np.empty_like(rows_BD)
        with np.errstate(invalid="ignore"):  # inf becomes nan, stays in the row and gets it refused
            self._scale(spec, channels, scales, rows_BD, out_BD)
        return out_BD

    def _scale(self, spec: Spec, channels: list[Channel], scales: list[float], rows_BD: Array, out_BD: Array) -> None:
        if WEIGHT.name in spec.slices:
            examples_B1 = rows_BD[:, spec.slices[WEIGHT.name]].astype(np.float64)
            weight_B1 = examples_B1 / np.maximum(examples_B1, self.max_examples)
        for channel, scale in zip(channels, scales, strict=True):
            where = spec.slices[channel.name]
            source_BD = rows_BD
            if channel.name == WEIGHT.name:
                out_BD[:, where], source_BD = weight_B1, out_BD
            pieces, bounded = _pieces(where), math.isfinite(channel.bound) and channel.name != WEIGHT.name
            if bounded:
                norm_B1 = np.sqrt(sum(_squares(source_BD[:, piece]) for piece in pieces))
                shrink_B1 = scale * (channel.bound / np.maximum(norm_B1, channel.bound))
            for piece in pieces:
                part_BC = np.multiply(source_BD[:, piece], shrink_B1 if bounded else scale, dtype=np.float64)
                if channel.weighted:
                    part_BC *= weight_B1
                out_BD[:, piece] = part_BC


def _pieces(where: slice) -> list[slice]:
    """Cut a channel into pieces that stay in a core's cache."""
    return [slice(at, min(at + CHUNK, where.stop)) for at in range(where.start, where.stop, CHUNK)]


def _squares(part_BC: Array) -> Array:
    exact_BC = part_BC.astype(np.float64)
    return np.asarray(np.sum(exact_BC * exact_BC, axis=1, keepdims=True))

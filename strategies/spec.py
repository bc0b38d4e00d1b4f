"""What is known of one client's row before anything runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from hansa.strategies.errors import CompositionError
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One named part of a row.

    ``bound`` is the largest L2 norm that the part can have and ``cap`` the largest magnitude of one entry: a reply
    above its cap is refused. A ``weighted`` channel is multiplied by the client's weight before it is sent. One that
    ``fades`` counts for less where it answers an old round; sums that others are divided by do not fade, so that a
    stale update is damped even if it is alone.
    """

    name: str
    shape: tuple[int, ...] = ()
    bound: float = math.inf
    cap: float = 2.0**16
    weighted: bool = False
    nonnegative: bool = False
    fades: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)


WEIGHT = Channel(name="weight", bound=1.0, cap=1.0, nonnegative=True)
"""A client's share of the largest weight; before `Bound` it holds the number of the client's examples."""


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Three numbers of one cohort: asked for, at most in one total, at least for one.

    ``expected`` is a denominator, ``max`` fixes the scale of exact sums and rings, ``min`` is the survivors' floor.
    """

    expected: int
    max: int
    min: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.expected <= self.max:
            raise CompositionError(
                f"cohort: needs 1 <= min <= expected <= max, but min={self.min}, expected={self.expected}, "
                f"max={self.max}: raise cohort.max or lower cohort.min."
            )


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What is known of one client's row at one point of its way to the wire.

    ``l2`` bounds the norm of a whole row in this point's units; a row in a ring has entries within ``limit``. A row is
    ``weighed`` once it has passed `Bound`.
    """

    channels: tuple[Channel, ...]
    cohort: Cohort
    domain: Literal["real", "ring16", "ring32"] = "real"
    l2: float = math.inf
    limit: int = 0
    weighed: bool = False

    def __post_init__(self) -> None:
        names = [channel.name for channel in self.channels]
        if not names or len(set(names)) < len(names):
            raise CompositionError(f"channels {names}: a row needs at least one channel, each with a name of its own.")

    @cached_property
    def slices(self) -> Mapping[str, slice]:
        ends = itertools.accumulate(channel.size for channel in self.channels)
        return {c.name: slice(end - c.size, end) for c, end in zip(self.channels, ends, strict=True)}

    @cached_property
    def dim(self) -> int:
        return sum(channel.size for channel in self.channels)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type of a row's entries on the wire."""
        return np.dtype({"real": "float32", "ring16": "uint16", "ring32": "uint32"}[self.domain])

    def pack(self, parts: Mapping[str, Array], rows: int) -> Array:
        """Lay channels of shape (B, *shape) beside each other as rows_BD in float32."""
        if parts.keys() != self.slices.keys():
            raise CompositionError(f"channels {sorted(parts)} were made where {sorted(self.slices)} are due.")
        rows_BD = np.empty((rows, self.dim), np.float32)
        for name, where in self.slices.items():
            rows_BD[:, where] = np.reshape(parts[name], (rows, -1))
        return rows_BD

    def unpack(self, rows_GD: Array) -> dict[str, Array]:
        """Name the channels of rows_GD: views of shape (G, *shape)."""
        return {c.name: rows_GD[:, self.slices[c.name]].reshape(-1, *c.shape) for c in self.channels}

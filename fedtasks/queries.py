"""Federated statistics: asked of every client once, before round 1, as sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hansa.fedtasks.errors import OptionError, QueryError
from hansa.fedtasks.examples import Examples, stack
from hansa.strategies.spec import Channel
from hansa.strategies.types import Array

SUM = 2.0**31
"""The largest sum that a client may report."""
CONSTANT = 2.0**-20
"""A variance below this share of the mean square cannot be told from rounding."""


class Query(Protocol):
    """One statistic: what a client sums, and which buffers of the model the sums fill."""

    @property
    def name(self) -> str:
        """The query's name, by which it is asked: ``query.<name>``."""
        ...

    @property
    def sets(self) -> tuple[str, ...]:
        """Names in the model's ``state_dict`` that it fills."""
        ...

    def channels(self) -> tuple[Channel, ...]:
        """Return the channels that a client fills."""
        ...

    def local(self, train: Examples) -> dict[str, Array]:
        """Sum over one client's training data; float32 arrays by channel."""
        ...

    def fit(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """Read the sums over all clients; float32 arrays by name in ``sets``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and standard deviation of every feature, for the model's layer `Standardise` of that name.

    Each client sums z and z^2 of z = (x - centre) / unit over its n examples, in float64. With the totals S and Q,

        mean = centre + unit S / n        scale = unit sqrt(Q / n - (S / n)^2)

    ``centre`` and ``unit`` are rough public values, a number a feature (none: 0 and 1). They prevent cancellation: sums
    travel as float32, so the error of ``mean`` is at most 2^-24 scale sqrt(1 + d^2), and that of ``scale``
    2^-22 scale (1 + d^2), for d = |mean - centre| / scale, before either is rounded to float32. Exact sums add to S and
    Q at most R 2^-32 for each client, R = cohort.max: choose units that make z about 1. A feature with d above 1,000
    counts as constant, and a constant feature gets scale 1, which keeps it finite.

    >>> Moments(features=2).sets
    ('standardise.mean', 'standardise.scale')
    """

    layer: str = "standardise"
    features: int = 13
    centre: tuple[float, ...] = ()
    unit: tuple[float, ...] = ()
    name: str = "moments"

    def __post_init__(self) -> None:
        for option in (self.centre, self.unit):
            if option and len(option) != self.features:
                given = len(option)
                raise OptionError(f"query {self.name}: {given} numbers for {self.features} features: give each one.")
        if not all(unit > 0 for unit in self.unit):
            raise OptionError(f"query {self.name}: a unit of 0 or below: give each feature a positive one.")

    @property
    def sets(self) -> tuple[str, ...]:
        return (f"{self.layer}.mean", f"{self.layer}.scale")

    def channels(self) -> tuple[Channel, ...]:
        shape = (self.features,)
        return (
            Channel(name=f"{self.name}.count", cap=SUM, nonnegative=True),
            Channel(name=f"{self.name}.sum", shape=shape, cap=SUM),
            Channel(name=f"{self.name}.square", shape=shape, cap=SUM, nonnegative=True),
        )

    def local(self, train: Examples) -> dict[str, Array]:
        z_NF = (self._inputs(train) - self._centre) / self._unit
        sums = (np.float64(len(z_NF)), z_NF.sum(0), np.square(z_NF).sum(0))
        self._check(np.maximum(np.abs(sums[1]), sums[2]))
        return {c.name: np.asarray(value, np.float32) for c, value in zip(self.channels(), sums, strict=True)}

    def fit(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        n, s_F, q_F = (np.asarray(sums[channel.name], np.float64) for channel in self.channels())
        if not n >= 1:
            raise QueryError(f"query {self.name}: the clients that answered have no training examples: see their data.")
        variance_F = q_F / n - np.square(s_F / n)
        constant_F = variance_F <= CONSTANT * q_F / n
        scale_F = np.where(constant_F, 1.0, self._unit * np.sqrt(np.where(constant_F, 1.0, variance_F)))
        mean_F = self._centre + self._unit * s_F / n
        return {name: v.astype(np.float32) for name, v in zip(self.sets, (mean_F, scale_F), strict=True)}

    def _check(self, largest_F: Array) -> None:
        outside_F = ~(largest_F <= SUM)
        if outside_F.any():
            at = int(outside_F.argmax())
            raise QueryError(
                f"query {self.name}: the sums of feature {at} reach {largest_F[at]:g}, beyond {SUM:g}: "
                "set centre and unit near its values, and remove what is not finite."
            )

    @property
    def _centre(self) -> Array:
        return np.array(self.centre or (0.0,) * self.features)

    @property
    def _unit(self) -> Array:
        return np.array(self.unit or (1.0,) * self.features)

    def _inputs(self, train: Examples) -> Array:
        if len(train) == 0:
            return np.zeros((0, self.features))
        inputs = stack(train)[0].numpy()
        if inputs[0].size != self.features:
            raise QueryError(
                f"query {self.name}: an input has {inputs[0].size} numbers where {self.features} are due: "
                "set features in the task's query."
            )
        return inputs.reshape(len(inputs), self.features).astype(np.float64)

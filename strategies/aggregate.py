"""Aggregates: a commutative monoid of group totals, then a rule over the groups' means."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from hansa.strategies import exact
from hansa.strategies.columns import middle, ordered
from hansa.strategies.errors import CompositionError, RoundLost, SumError
from hansa.strategies.keys import Context, derive, stream
from hansa.strategies.pipeline import Names, Pipeline
from hansa.strategies.spec import Spec
from hansa.strategies.types import Array, Row

Rule: TypeAlias = Callable[[Array], Array]
"""From the means of G groups, shape (G, *shape), to one value of the channel's shape."""


def single(means_GP: Array) -> Array:
    """The rule of one group: its mean."""
    return np.asarray(means_GP[0])


def median(means_GP: Array) -> Array:
    """The coordinate-wise median over groups, of the means' own real type."""
    rows_GN = means_GP.reshape(len(means_GP), -1)
    median_N = np.empty(rows_GN.shape[1], means_GP.dtype)
    for where, sorted_CG in ordered(rows_GN):
        median_N[where] = middle(sorted_CG)
    return median_N.reshape(means_GP.shape[1:])


@dataclass(frozen=True, kw_only=True)
class Aggregator:
    """How rows are put together: ``groups=1`` is a sum, in O(D) memory whatever the cohort.

    ``groups=0`` keeps a row a client, in O(cohort x D) memory; ``groups=m`` gives each client to one of m groups by a
    keyed hash of its name.
    """

    groups: int = 1
    rule: Rule = single

    def __post_init__(self) -> None:
        if self.groups < 0 or (self.groups != 1 and self.rule is single):
            raise CompositionError(f"an aggregator of {self.groups} groups needs a rule over them, such as median.")

    def group(self, client: str, names: Names, ctx: Context) -> int:
        """Return the group of a client of the addressed names, which are sorted."""
        return bisect.bisect_left(names, client) if self.groups == 0 else ctx.group(client, self.groups)

    def empty(self, spec: Spec, names: Names, sum_GD: Array | None = None) -> Totals:
        """Return totals of nobody for a request to these names, in memory of zeros that is given, or in new."""
        groups = self.groups or len(names)
        sum_GD = exact.zeros(spec, groups) if sum_GD is None else sum_GD
        return Totals(spec=spec, sum_GD=sum_GD, count_G=np.zeros(groups, np.int64), names=set())


SUM = Aggregator()
"""The sum of all rows."""
ROWS = Aggregator(groups=0, rule=median)
"""A row a client, and the median over them."""


@dataclass(kw_only=True)
class Totals:
    """Sums of rows by group, and whose rows are inside. Merging is exact, commutative and associative."""

    spec: Spec
    sum_GD: Array
    count_G: Array
    names: set[str]

    def add(self, client: str, row_D: Row, group: int, fade: float = 1.0) -> None:
        """Add one row in place, ``fade`` of it; raises SumError and adds nothing where it must not enter."""
        self._room({client})
        exact.add(self.spec, self.sum_GD[group], row_D, fade)
        self.count_G[group] += 1
        self.names.add(client)

    def merge(self, other: Totals) -> None:
        """Add the totals of other clients in place; raises SumError for a client that is in both."""
        self._room(other.names)
        self.sum_GD += other.sum_GD
        self.count_G += other.count_G
        self.names |= other.names

    def _room(self, names: set[str]) -> None:
        if twice := self.names & names:
            raise SumError(f"client {min(twice)!r} is in the sum already: a client counts once a request.")
        if len(self.names) + len(names) > self.spec.cohort.max:
            raise SumError(f"the sum holds cohort.max={self.spec.cohort.max} rows already: raise cohort.max.")


@dataclass(frozen=True, kw_only=True)
class Released:
    """What a strategy gets to see: decoded sums by channel and group, and who was counted.

    ``key`` is the coordinator's own, another for every request.
    """

    sums: Mapping[str, Array]
    count_G: Array
    names: Names
    rule: Rule = single
    key: bytes = b""

    @classmethod
    def of(cls, totals: Totals, pipeline: Pipeline, aggregator: Aggregator, ctx: Context) -> Released:
        """Decode totals, which are used up."""
        sums = pipeline.row.unpack(pipeline.decode(totals.sum_GD, ctx))
        key, names = derive(ctx.own, "released", ctx.round, ctx.request), tuple(sorted(totals.names))
        return cls(sums=sums, count_G=totals.count_G, names=names, rule=aggregator.rule, key=key)

    def draw(self, purpose: str) -> np.random.Generator:
        """Return randomness that only the coordinator knows, fresh in every request."""
        return stream(self.key, purpose)

    def total(self, channel: str) -> Array:
        """Return a channel's sum over all groups, in float64."""
        return np.asarray(self.sums[channel].sum(axis=0))

    def mean(self, channel: str, over: str | float) -> Array:
        """Return the rule's value of a channel's means, in float32; raises RoundLost where no group has one."""
        return self.rule(self.means(channel, over)).astype(np.float32, copy=False)

    def means(self, channel: str, over: str | float) -> Array:
        """Return a channel's means, shape (G, *shape), float32; of rows kept apart they are the rows by name.

        ``over`` is the denominator of a group's sum: ``"count"``, the name of a channel that is summed, or a constant.
        Groups whose denominator is 0 have no mean; raises RoundLost where all are so.
        """
        sums_GP = self.sums[channel]
        denominator_G = self._denominator(over)
        seen = denominator_G > 0
        if not seen.any():
            raise RoundLost(
                f"the sum of {over} over {len(self.names)} clients is 0: no client has training examples "
                "(or too few to show beside pipeline.bound.max_examples after rounding)."
            )
        if not seen.all():
            sums_GP, denominator_G = sums_GP[seen], denominator_G[seen]
        means_GP = np.empty(sums_GP.shape, np.float32)
        np.divide(sums_GP, denominator_G.reshape(-1, *[1] * (sums_GP.ndim - 1)), out=means_GP, casting="same_kind")
        return means_GP

    def _denominator(self, over: str | float) -> Array:
        if not isinstance(over, str):
            return np.full(len(self.count_G), over)
        return self.count_G if over == "count" else self.sums[over].reshape(len(self.count_G))

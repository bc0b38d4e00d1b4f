"""Uniform without replacement: every set of ``cohort.size`` clients that are there is as probable as any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hansa.fedserver.policy import CohortPolicy
from hansa.fedserver.selection.selection import UNIFORM, Draw, DrawFlow, Memory, Sampling, at_once


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Draw uniformly without replacement; without ``cohort.size`` everyone takes part."""

    learns: ClassVar[bool] = False
    asks: ClassVar[bool] = False

    def check(self, cohort: CohortPolicy) -> None:
        """Nothing: any cohort can be drawn so."""

    def start(self, names: Sequence[str] | None) -> Memory:
        return None

    def draw(self, memory: Memory, draw: Draw) -> DrawFlow:
        return at_once(draw.there.sample(draw.ctx, draw.cohort.drawn), memory)

    def sampling(self, draw: Draw) -> Sampling:
        count = draw.there.count
        return Sampling(UNIFORM, None if count is None else min(1.0, (draw.cohort.drawn or count) / max(1, count)))

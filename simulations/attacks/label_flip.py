"""Label flip (Tolpegin, Truex, Gursoy, Liu 2020, arXiv:2007.08432; Fang, Cao, Jia, Gong 2020, arXiv:1911.11815).

Attackers train on labels y of C classes that they have changed:

    y <- target where y = source,    or, where these are empty,    y <- C - 1 - y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from hansa.simulations.attacks.check import demand_class, demand_share
from hansa.simulations.errors import AttackError


@dataclass(frozen=True, kw_only=True)
class LabelFlip:
    """Attackers train on the wrong labels. ``source`` and ``target`` are classes, or both empty. Raises AttackError."""

    share: float = 0.2
    source: int | None = None
    target: int | None = None

    def __post_init__(self) -> None:
        demand_share(self.share)
        if (self.source is None) != (self.target is None):
            raise AttackError("attack.source and attack.target: give both, or leave both empty to flip all classes.")

    def check(self, inputs: Tensor, classes: int) -> None:
        for name, value in (("source", self.source), ("target", self.target)):
            if value is not None:
                demand_class(name, value, classes)

    def poison(self, inputs: Tensor, targets: Tensor, classes: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        if self.source is None or self.target is None:
            return inputs, classes - 1 - targets
        return inputs, targets.masked_fill(targets.eq(self.source), self.target)

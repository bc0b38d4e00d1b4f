"""Gaussian noise in place of an update (Blanchard, El Mhamdi, Guerraoui, Stainer 2017, arXiv:1703.02757):

s_ap = sigma e_ap,    e_ap normal of mean 0 and variance 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.simulations.attacks.attack import Moment
from hansa.simulations.attacks.check import demand_positive, demand_share
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Each attacker sends noise of its own, of standard deviation ``sigma``. Raises AttackError."""

    share: float = 0.2
    sigma: float = 1.0

    def __post_init__(self) -> None:
        demand_share(self.share)
        demand_positive("sigma", self.sigma)

    def forge(self, honest_AP: Array, moment: Moment) -> Array:
        drawn = [moment.ctx.learning(name, "attack").standard_normal(honest_AP.shape[1]) for name in moment.names]
        return self.sigma * np.stack(drawn)

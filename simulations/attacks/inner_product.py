"""Inner-product manipulation (Xie, Koyejo, Gupta 2020, "Fall of empires", arXiv:1903.03936).

With the mean mu_p of the attackers' honest updates all send

    s_p = -epsilon mu_p,

so that the aggregate's inner product with the true mean turns negative, or small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.simulations.attacks.attack import Moment
from hansa.simulations.attacks.check import demand_positive, demand_share
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class InnerProduct:
    """All attackers send the opposite of their mean, ``epsilon`` times as long. Raises AttackError."""

    share: float = 0.2
    epsilon: float = 0.5

    def __post_init__(self) -> None:
        demand_share(self.share)
        demand_positive("epsilon", self.epsilon)

    def forge(self, honest_AP: Array, moment: Moment) -> Array:
        return np.broadcast_to(-self.epsilon * honest_AP.mean(axis=0), honest_AP.shape)

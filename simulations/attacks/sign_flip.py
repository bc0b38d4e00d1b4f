"""Sign flip (Li, Xu, Chen, Giannakis, Ling 2019, "RSA", arXiv:1811.03761). With an attacker's honest update d_a,

s_a = -scale d_a.
"""

from __future__ import annotations

from dataclasses import dataclass

from hansa.simulations.attacks.attack import Moment
from hansa.simulations.attacks.check import demand_positive, demand_share
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class SignFlip:
    """Each attacker sends its update the other way round, ``scale`` times as long. Raises AttackError."""

    share: float = 0.2
    scale: float = 1.0

    def __post_init__(self) -> None:
        demand_share(self.share)
        demand_positive("scale", self.scale)

    def forge(self, honest_AP: Array, moment: Moment) -> Array:
        return -self.scale * honest_AP

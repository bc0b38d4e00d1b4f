"""A little is enough (Baruch, Baruch, Goldberg 2019, arXiv:1902.06156), algorithm 3.

Of n clients m attack. With mean mu_p and standard deviation sigma_p of the attackers' honest updates, all send

    s_p = mu_p - z sigma_p,
    phi(z) = (n - m - q) / (n - m),    q = floor(n / 2 + 1) - m,

where phi is the distribution function of the normal and q counts the honest clients that must lie farther out for the
attackers to be in the majority. z is the largest at which that is to be expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from hansa.simulations.attacks.attack import Moment
from hansa.simulations.attacks.check import demand_positive, demand_share
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Alie:
    """All attackers send one update that lies within the spread of honest ones. Raises AttackError.

    They know their own honest updates alone, so that one attacker in a cohort sees no spread. ``z`` is computed for
    each request where it is empty.
    """

    share: float = 0.2
    z: float | None = None

    def __post_init__(self) -> None:
        demand_share(self.share)
        if self.z is not None:
            demand_positive("z", self.z)

    def forge(self, honest_AP: Array, moment: Moment) -> Array:
        z = largest(moment.clients, len(honest_AP)) if self.z is None else self.z
        sent_P = honest_AP.mean(axis=0) - z * honest_AP.std(axis=0)
        return np.broadcast_to(sent_P, honest_AP.shape)


def largest(n: int, m: int) -> float:
    """Return z for n clients of which m attack; 0 where fewer honest ones would lie farther out than are needed.

    Attackers that are a majority by themselves still need one.

    >>> round(largest(50, 12), 3)
    0.336
    """
    needed = max(1, n // 2 + 1 - m)
    share = (n - m - needed) / max(1, n - m)
    return NormalDist().inv_cdf(share) if share > 0.5 else 0.0

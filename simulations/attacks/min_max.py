"""Min-max (Shejwalkar, Houmansadr 2021, "Manipulating the Byzantine", NDSS), algorithm 1.

With the attackers' honest updates d_a and their mean mu all send

    s = mu + gamma v,    max_a |s - d_a| <= max_ab |d_a - d_b|,

with the largest gamma that a search by halving finds, and v one of

    -std:   minus the standard deviation of each coordinate
    -sign:  -sign(mu)
    -unit:  -mu / |mu|.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hansa.simulations.attacks.attack import Moment
from hansa.simulations.attacks.check import demand_positive, demand_share
from hansa.strategies.types import Array

TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, kw_only=True)
class MinMax:
    """All attackers send one update that is no farther from any honest one than these are from each other.

    They know their own honest updates alone; one attacker in a cohort sends its own. The search begins at ``gamma``,
    reaches twice as far, and ends where steps are below ``tolerance``. Raises AttackError.
    """

    share: float = 0.2
    direction: Literal["-std", "-sign", "-unit"] = "-std"
    gamma: float = 10.0
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        demand_share(self.share)
        demand_positive("gamma", self.gamma)
        demand_positive("tolerance", self.tolerance)

    def forge(self, honest_AP: Array, moment: Moment) -> Array:
        mean_P, away_P = honest_AP.mean(axis=0), self._away(honest_AP)
        gamma = self._search(honest_AP - mean_P, away_P)
        return np.broadcast_to(mean_P + gamma * away_P, honest_AP.shape)

    def _away(self, honest_AP: Array) -> Array:
        if self.direction == "-std":
            return np.asarray(-honest_AP.std(axis=0))
        mean_P = honest_AP.mean(axis=0)
        if self.direction == "-sign":
            return np.asarray(-np.sign(mean_P))
        return np.asarray(-mean_P / max(float(np.linalg.norm(mean_P)), TINY))

    def _search(self, centred_AP: Array, away_P: Array) -> float:
        """Return the largest gamma that was found to be within reach."""
        reach = max(float(np.linalg.norm(centred_AP - row_P, axis=1).max()) for row_P in centred_AP)
        gamma, step, found = self.gamma, self.gamma, 0.0
        while step > self.tolerance:
            step /= 2
            if np.linalg.norm(gamma * away_P - centred_AP, axis=1).max() <= reach:
                found, gamma = max(found, gamma), gamma + step
            else:
                gamma -= step
        return found

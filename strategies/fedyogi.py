"""FedYogi (Reddi et al. 2021, arXiv:2003.00295, algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.strategies.adaptive import Adaptive
from hansa.strategies.bound import Bound
from hansa.strategies.pipeline import Transform
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class FedYogi(Adaptive):
    """As FedAdam, but v moves by no more than a share of d^2 a round, so that large updates are forgotten slowly.

    With d the mean update (see `adaptive` for x, m and tau),

        v <- v - (1 - beta2) * d^2 * sign(v - d^2).
    """

    lr: float = 0.03
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3
    weighting: str = "examples"
    denominator: str = "weights"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        self.check(beta2=self.beta2)

    def rule(self, second_P: Array, square_P: Array) -> Array:
        return np.asarray(second_P - (1 - self.beta2) * square_P * np.sign(second_P - square_P))

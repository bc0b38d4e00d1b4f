"""FedAdam (Reddi et al. 2021, arXiv:2003.00295, algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass

from hansa.strategies.adaptive import Adaptive
from hansa.strategies.bound import Bound
from hansa.strategies.pipeline import Transform
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class FedAdam(Adaptive):
    """Steps shrink with how far an entry has lately moved. With d the mean update (see `adaptive` for x, m and tau),

    v <- beta2 * v + (1 - beta2) * d^2.
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
        return self.beta2 * second_P + (1 - self.beta2) * square_P

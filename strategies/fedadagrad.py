"""FedAdagrad (Reddi et al. 2021, arXiv:2003.00295, algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass

from hansa.strategies.adaptive import Adaptive
from hansa.strategies.bound import Bound
from hansa.strategies.pipeline import Transform
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class FedAdagrad(Adaptive):
    """Steps shrink with all that an entry has ever moved. With d the mean update (see `adaptive` for x, m and tau),

        v <- v + d^2.

    It has no momentum unless ``beta1`` is above 0.
    """

    lr: float = 0.1
    beta1: float = 0.0
    tau: float = 1e-3
    weighting: str = "examples"
    denominator: str = "weights"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        self.check()

    def rule(self, second_P: Array, square_P: Array) -> Array:
        return second_P + square_P

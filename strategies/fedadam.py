"""FedAdam (Reddi et al. 2021, arXiv:2003.00295, algorithm 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hansa.strategies import adaptive
from hansa.strategies.bound import Bound
from hansa.strategies.mean import Mean
from hansa.strategies.pipeline import Transform
from hansa.strategies.strategy import Endpoint, Flow, Problem, Round, State
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class FedAdam:
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
        self._mean()
        adaptive.check(tau=self.tau, beta1=self.beta1, beta2=self.beta2)

    def _mean(self) -> Mean:
        return Mean(weighting=self.weighting, denominator=self.denominator, pipeline=self.pipeline)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        return self._mean().endpoints(problem)

    def init(self, model_P: Array) -> State:
        return adaptive.start(model_P, self.tau)

    def round(self, state: State, now: Round) -> Flow:
        mean_P, metrics = yield from self._mean().update(state, now)
        second_P = self.beta2 * state["second"] + (1 - self.beta2) * (mean_P * mean_P)
        return adaptive.step(state, mean_P, second_P, now, lr=self.lr, beta1=self.beta1, tau=self.tau), metrics

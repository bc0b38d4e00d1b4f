"""FedAvg with server momentum (Hsu et al. 2019, arXiv:1909.06335)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above, decay
from hansa.strategies.mean import Mean, moved
from hansa.strategies.pipeline import Transform
from hansa.strategies.strategy import Endpoint, Flow, Problem, Round, State
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class FedAvgM:
    """Move the model by a decaying sum of the mean updates d (see `Mean`):

        v <- momentum * v + d,    x <- x + lr * v.

    The paper has ``lr`` = 1; a steady d moves the model by lr * d / (1 - momentum) a round. It is a heavy ball: no
    Nesterov step. v is 0 at first, is float32, and stays at the coordinator. Buffers move by d itself.
    """

    lr: float = 1.0
    momentum: float = 0.9
    weighting: str = "examples"
    denominator: str = "weights"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        decay("strategy.momentum", self.momentum)
        self._mean()

    def _mean(self) -> Mean:
        return Mean(weighting=self.weighting, denominator=self.denominator, pipeline=self.pipeline)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        return self._mean().endpoints(problem)

    def init(self, model_P: Array) -> State:
        return {"model": model_P, "velocity": np.zeros_like(model_P)}

    def round(self, state: State, now: Round) -> Flow:
        mean_P, metrics = yield from self._mean().update(state, now)
        velocity_P = self.momentum * state["velocity"] + mean_P
        model_P = moved(state["model"], self.lr * velocity_P, mean_P, now.buffers)
        return {"model": model_P, "velocity": velocity_P}, metrics

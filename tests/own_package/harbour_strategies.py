"""FedAvg with server momentum (Hsu et al. 2019, arXiv:1909.06335): v <- beta v + mean update, x <- x + lr v."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies import Bound, Endpoint, FedAvg, Flow, Problem, Round, State, Transform
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Momentum:
    """Move the model by a running sum of the mean updates."""

    lr: float = 1.0
    beta: float = 0.9
    pipeline: tuple[Transform, ...] = (Bound(),)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        return self._mean.endpoints(problem)

    def init(self, model_P: Array) -> State:
        return {"model": model_P, "velocity": np.zeros_like(model_P)}

    def round(self, state: State, now: Round) -> Flow:
        after, metrics = yield from self._mean.round({"model": state["model"]}, now)
        velocity_P = np.float32(self.beta) * state["velocity"] + (after["model"] - state["model"])
        model_P = state["model"] + np.float32(self.lr) * velocity_P
        return {"model": model_P, "velocity": velocity_P}, metrics

    @property
    def _mean(self) -> FedAvg:
        return FedAvg(pipeline=self.pipeline)


class Half:
    """A strategy that was never finished."""

    def init(self, model_P: Array) -> State:
        return {"model": model_P}

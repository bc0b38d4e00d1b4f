"""What the adaptive server optimisers share (Reddi et al. 2021, arXiv:2003.00295, algorithm 2).

The mean update d (see `mean.Mean`) is a pseudo-gradient that points downhill already. Square, root and quotient go
entry by entry; each optimiser has a rule of its own for v:

    m <- beta1 * m + (1 - beta1) * d
    v <- rule(v, d^2)
    x <- x + lr * m / (sqrt(v) + tau)

m is 0 at first and v is tau^2, the least that the paper allows. As in the paper nothing corrects the bias of m and v
towards that start, and tau, the adaptivity, stands beside the root: the larger it is, the less the steps adapt. m and
v are float32 and stay at the coordinator. Buffers move by d itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from hansa.strategies.checks import above, decay
from hansa.strategies.mean import Mean, moved
from hansa.strategies.pipeline import Transform
from hansa.strategies.strategy import Endpoint, Flow, Problem, Round, State
from hansa.strategies.types import Array


class Adaptive(ABC):
    """The base of adaptive server optimisers. It has no settings of its own, but reads those of the optimiser."""

    lr: float
    beta1: float
    tau: float
    weighting: str
    denominator: str
    pipeline: tuple[Transform, ...]

    @abstractmethod
    def rule(self, second_P: Array, square_P: Array) -> Array:
        """Return the next v from the last and from d^2."""

    def check(self, **decays: float) -> None:
        """Refuse settings that divide by 0 or let the past grow."""
        self._mean()
        above("strategy.lr", self.lr, 0)
        for name, value in {"beta1": self.beta1, **decays}.items():
            decay(f"strategy.{name}", value)
        above("strategy.tau", self.tau, 0, "for a parameter that never moved has v = 0")

    def _mean(self) -> Mean:
        return Mean(weighting=self.weighting, denominator=self.denominator, pipeline=self.pipeline)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        return self._mean().endpoints(problem)

    def init(self, model_P: Array) -> State:
        second_P = np.full_like(model_P, self.tau * self.tau)
        return {"model": model_P, "first": np.zeros_like(model_P), "second": second_P}

    def round(self, state: State, now: Round) -> Flow:
        mean_P, metrics = yield from self._mean().update(state, now)
        first_P = self.beta1 * state["first"] + (1 - self.beta1) * mean_P
        second_P = self.rule(state["second"], mean_P * mean_P)
        step_P = self.lr * first_P / (np.sqrt(second_P) + self.tau)
        model_P = moved(state["model"], step_P, mean_P, now.buffers)
        return {"model": model_P, "first": first_P, "second": second_P}, metrics

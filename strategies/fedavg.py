"""Federated averaging (McMahan et al. 2017, arXiv:1602.05629, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above
from hansa.strategies.mean import Mean, moved
from hansa.strategies.pipeline import Transform
from hansa.strategies.strategy import Endpoint, Flow, Problem, Round, State
from hansa.strategies.types import Array
from hansa.strategies.work import ClientWork


@dataclass(frozen=True, kw_only=True)
class FedAvg:
    """Move the model by the mean of the clients' updates.

    With update d_i of client i, weight w_i (its examples by W, or 1) and server learning rate ``lr``,

        x <- x + lr * sum_i w_i d_i / D.

    D is the sum of the weights, or with ``denominator="expected"`` the constant cohort.expected, so that one client's
    influence on the model is bounded; with weights let max_examples be about one client's examples, for w_i <= 1.
    Buffers, such as BatchNorm's statistics, move by the mean itself, whatever ``lr`` is.
    """

    lr: float = 1.0
    weighting: str = "examples"
    denominator: str = "weights"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        self._mean()

    def _mean(self) -> Mean:
        return Mean(weighting=self.weighting, denominator=self.denominator, pipeline=self.pipeline)

    @property
    def weighted(self) -> bool:
        """Whether clients count by their examples."""
        return self.weighting == "examples"

    def endpoints(self, problem: Problem, work: ClientWork | None = None) -> Mapping[str, Endpoint]:
        """Return the one endpoint; other algorithms let clients do other work with rows of the same channels."""
        return self._mean().endpoints(problem, work)

    def init(self, model_P: Array) -> State:
        return {"model": model_P}

    def round(self, state: State, now: Round) -> Flow:
        mean_P, metrics = yield from self._mean().update(state, now)
        return {"model": moved(state["model"], self.lr * mean_P, mean_P, now.buffers)}, metrics


class Averaged:
    """The base of strategies whose clients work otherwise than FedAvg's: the coordinator does what it does there.

    It has no settings of its own, but reads those of the strategy; one without ``weighting`` counts clients alike.
    """

    lr: float
    weighting: str = "uniform"
    pipeline: tuple[Transform, ...]

    @property
    def average(self) -> FedAvg:
        """FedAvg with this strategy's settings."""
        return FedAvg(lr=self.lr, weighting=self.weighting, pipeline=self.pipeline)

    def init(self, model_P: Array) -> State:
        return self.average.init(model_P)

    def round(self, state: State, now: Round) -> Flow:
        return self.average.round(state, now)

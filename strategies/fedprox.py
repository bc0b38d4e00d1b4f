"""FedProx (Li et al. 2020, "Federated optimization in heterogeneous networks", arXiv:1812.06127, algorithm 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hansa.strategies.bound import Bound
from hansa.strategies.errors import CompositionError
from hansa.strategies.fedavg import FedAvg
from hansa.strategies.pipeline import Transform
from hansa.strategies.strategy import Endpoint, Flow, Problem, Round, State
from hansa.strategies.types import Array
from hansa.strategies.work import LocalTraining, Plan


@dataclass(frozen=True, kw_only=True)
class FedProx:
    """FedAvg of clients that are pulled back to the round's model x:

    y_i = argmin f_i(y) + mu / 2 |y - x|^2        by local training, from x.
    """

    mu: float = 0.01
    lr: float = 1.0
    weighting: str = "examples"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        if not self.mu >= 0:
            raise CompositionError(f"strategy.mu={self.mu}: it is a number of at least 0, and 0 is FedAvg.")

    @property
    def _average(self) -> FedAvg:
        return FedAvg(lr=self.lr, weighting=self.weighting, pipeline=self.pipeline)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if "corrects" not in problem.training:
            raise CompositionError("FedProx adds to every gradient: choose a task that has no train() of its own.")
        work = LocalTraining(weighted=self._average.weighted, plan=Plan(proximal=self.mu))
        return self._average.endpoints(problem, work)

    def init(self, model_P: Array) -> State:
        return self._average.init(model_P)

    def round(self, state: State, now: Round) -> Flow:
        return self._average.round(state, now)

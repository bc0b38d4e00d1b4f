"""FedProx (Li et al. 2020, "Federated optimization in heterogeneous networks", arXiv:1812.06127, algorithm 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above, at_least
from hansa.strategies.errors import CompositionError
from hansa.strategies.fedavg import Averaged
from hansa.strategies.pipeline import Transform
from hansa.strategies.strategy import Endpoint, Problem
from hansa.strategies.work import LocalTraining, Plan


@dataclass(frozen=True, kw_only=True)
class FedProx(Averaged):
    """FedAvg of clients that are pulled back to the round's model x:

    y_i = argmin f_i(y) + mu / 2 |y - x|^2        by local training, from x.
    """

    mu: float = 0.01
    lr: float = 1.0
    weighting: str = "examples"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        at_least("strategy.mu", self.mu, 0, "which is FedAvg")

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if "corrects" not in problem.training:
            raise CompositionError("FedProx adds to every gradient: choose a task that has no train() of its own.")
        work = LocalTraining(weighted=self.average.weighted, plan=Plan(proximal=self.mu))
        return self.average.endpoints(problem, work)

"""FedPer (Arivazhagan et al. 2019, "Federated learning with personalization layers", arXiv:1912.00818)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above
from hansa.strategies.errors import CompositionError
from hansa.strategies.fedavg import Averaged
from hansa.strategies.pipeline import Transform
from hansa.strategies.strategy import Endpoint, Problem


@dataclass(frozen=True, kw_only=True)
class FedPer(Averaged):
    """FedAvg of the shared tensors, while each client trains the private ones, its personal layers, for itself.

    With the normalisation layers as the private ones it is FedBN (Li et al. 2021, "FedBN: Federated learning on non-IID
    features via local batch normalization", arXiv:2102.07623). Evaluation is of the common model with a client's own
    layers.
    """

    lr: float = 1.0
    weighting: str = "examples"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if not problem.private:
            raise CompositionError(
                "the strategy needs private tensors: name them, as in private=['4.*'], or private=[norms] for FedBN."
            )
        return self.average.endpoints(problem)

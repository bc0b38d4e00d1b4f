"""FedBuff (Nguyen et al. 2022, "Federated learning with buffered asynchronous aggregation", arXiv:2106.06639)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hansa.strategies.bound import Bound
from hansa.strategies.fedavg import Averaged, FedAvg
from hansa.strategies.pipeline import Transform
from hansa.strategies.strategy import Endpoint, Problem


@dataclass(frozen=True, kw_only=True)
class FedBuff(Averaged):
    """Move the model by the next K answers that come, each damped by its age (algorithm 1). With update d_i of client
    i, that began from the model of t_i rounds ago, and s its staleness weight,

        x <- x + lr / K sum_i s(t_i) d_i.

    The paper has s(t) = 1 / sqrt(1 + t). K, s and how many clients are at work are those of ``cohort=asynchronous``; in
    step, where s = 1, it is FedAvg with equal weights over the constant K = cohort.expected.
    """

    lr: float = 1.0
    pipeline: tuple[Transform, ...] = (Bound(),)

    @property
    def average(self) -> FedAvg:
        return FedAvg(lr=self.lr, weighting="uniform", denominator="expected", pipeline=self.pipeline)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        return self.average.endpoints(problem)

"""pFedMe (Dinh et al. 2020, "Personalized federated learning with Moreau envelopes", arXiv:2006.08848, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above, at_least
from hansa.strategies.errors import CompositionError
from hansa.strategies.fedavg import Averaged
from hansa.strategies.keys import Context
from hansa.strategies.mean import scaled
from hansa.strategies.own_model import EvaluatingOwn, OwnModelWork, own_after
from hansa.strategies.pipeline import Names, Transform
from hansa.strategies.questions import personal
from hansa.strategies.strategy import Endpoint, Problem
from hansa.strategies.types import Array, Slices, Tree
from hansa.strategies.work import PRIVATE, Cost, Plan, Trainer, update


@dataclass(frozen=True, kw_only=True)
class EnvelopeTraining(OwnModelWork):
    """Train an own model near the local one, move the local one towards it, and so on; send the local one."""

    attraction: float
    local_rounds: int
    steps: int
    rate: float
    buffers: Slices = ()

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=self._plans())

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        w_BP = np.repeat(payload["model"][None], len(names), axis=0)
        private_BQ, share_B = states[PRIVATE], np.full(len(names), self.rate * self.attraction)
        for plan in self._plans():
            trained = trainer.train(w_BP, private_BQ, names, ctx, plan)
            own_BP, private_BQ = w_BP + trained.delta_BP, trained.private_BQ
            w_BP = w_BP + scaled(trained.delta_BP, share_B, self.buffers)
        parts = {**update(trained, weighted=False), "delta": w_BP - payload["model"]}
        return parts, own_after(states, own_BP, private_BQ)

    def _plans(self) -> tuple[Plan, ...]:
        return tuple(Plan(proximal=self.attraction, steps=self.steps, part=part) for part in range(self.local_rounds))


@dataclass(frozen=True, kw_only=True)
class PFedMe(Averaged):
    """Let each client's own model stay near the common one, and learn a common one that others are good near:

        theta_i = argmin f_i(theta) + attraction / 2 |theta - w_i|^2       ``steps`` local steps, from w_i
        w_i <- w_i - rate attraction (w_i - theta_i)                       ``local_rounds`` times, from x
        x <- (1 - lr) x + lr mean_i w_i.

    ``attraction`` is the paper's lambda, ``rate`` its eta and ``lr`` its beta. Evaluation also tells what the theta_i
    reach, as ``personal_`` metrics. Buffers, which no gradient trains, follow the theta_i all the way.
    """

    attraction: float = 15.0
    local_rounds: int = 20
    steps: int = 5
    rate: float = 0.005
    lr: float = 1.0
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        for name in ("lr", "attraction", "rate"):
            above(f"strategy.{name}", getattr(self, name), 0)
        for name in ("local_rounds", "steps"):
            at_least(f"strategy.{name}", getattr(self, name), 1)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if "corrects" not in problem.training:
            raise CompositionError("pFedMe adds to every gradient: choose a task that has no train() of its own.")
        work = EnvelopeTraining(
            attraction=self.attraction,
            local_rounds=self.local_rounds,
            steps=self.steps,
            rate=self.rate,
            buffers=problem.buffers,
        )
        return {**self.average.endpoints(problem, work), **personal(problem, EvaluatingOwn())}

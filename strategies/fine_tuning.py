"""Local fine-tuning: FedAvg, whose model each client trains a little more for itself before it uses it.

Wang et al. 2019, "Federated evaluation of on-device personalization", arXiv:1910.10252.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above, at_least
from hansa.strategies.errors import CompositionError
from hansa.strategies.fedavg import Averaged
from hansa.strategies.keys import Context
from hansa.strategies.pipeline import Names, Transform
from hansa.strategies.questions import personal
from hansa.strategies.strategy import Endpoint, Problem
from hansa.strategies.types import Array, Tree
from hansa.strategies.work import PRIVATE, Cost, ModelWork, Plan, Trainer


@dataclass(frozen=True, kw_only=True)
class EvaluatingTuned(ModelWork):
    """Train the payload's ``model`` a little more, and evaluate what comes out; nothing of it is kept."""

    plan: Plan

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=(self.plan,), evaluations=1)

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        tuned = trainer.train(payload["model"], states[PRIVATE], names, ctx, self.plan)
        return trainer.evaluate(payload["model"] + tuned.delta_BP, tuned.private_BQ, names), dict(states)


@dataclass(frozen=True, kw_only=True)
class FineTuning(Averaged):
    """FedAvg; with each evaluation every client takes ``epochs`` passes from the common model and is evaluated again.

    What the tuned models reach is told as ``personal_`` metrics.
    """

    epochs: int = 1
    lr: float = 1.0
    weighting: str = "examples"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        at_least("strategy.epochs", self.epochs, 1, "for without tuning it is FedAvg")

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if "corrects" not in problem.training:
            raise CompositionError("fine-tuning sets its own passes: choose a task that has no train() of its own.")
        tuned = EvaluatingTuned(plan=Plan(epochs=self.epochs))
        return {**self.average.endpoints(problem), **personal(problem, tuned)}

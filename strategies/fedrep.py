"""FedRep (Collins et al. 2021, "Exploiting shared representations for personalized federated learning").

arXiv:2102.07078, algorithm 1.
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
from hansa.strategies.strategy import Endpoint, Problem
from hansa.strategies.types import Array, Tree
from hansa.strategies.work import PRIVATE, Cost, ModelWork, Plan, Trainer, update


@dataclass(frozen=True, kw_only=True)
class AlternatingTraining(ModelWork):
    """Train the private head with the body at rest, then the shared body with the head at rest; send the body."""

    weighted: bool
    head_epochs: int
    body_epochs: int | None

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=self._plans())

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        head, body = self._plans()
        private_BQ = trainer.train(payload["model"], states[PRIVATE], names, ctx, head).private_BQ
        trained = trainer.train(payload["model"], private_BQ, names, ctx, body)
        return update(trained, self.weighted), {PRIVATE: private_BQ}

    def _plans(self) -> tuple[Plan, Plan]:
        return Plan(only="private", epochs=self.head_epochs), Plan(only="shared", epochs=self.body_epochs)


@dataclass(frozen=True, kw_only=True)
class FedRep(Averaged):
    """Learn a common representation x below a head h_k that each client keeps:

        h_k <- ``head_epochs`` passes of training, with x at rest
        y_k <- ``body_epochs`` passes from x (empty: the client's own number), with h_k at rest
        x <- FedAvg of the y_k.

    The head is what the task keeps private. Evaluation is of x below each client's own head.
    """

    head_epochs: int = 5
    body_epochs: int | None = None
    lr: float = 1.0
    weighting: str = "examples"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        at_least("strategy.head_epochs", self.head_epochs, 1)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if not problem.private:
            raise CompositionError("FedRep needs a private head: name its tensors, as in private=['4.*'].")
        if "corrects" not in problem.training:
            raise CompositionError("FedRep trains by parts: choose a task that has no train() of its own.")
        work = AlternatingTraining(
            weighted=self.average.weighted, head_epochs=self.head_epochs, body_epochs=self.body_epochs
        )
        return self.average.endpoints(problem, work)

"""MOON (Li, He and Song 2021, "Model-contrastive federated learning", arXiv:2103.16257, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above, at_least
from hansa.strategies.errors import CompositionError
from hansa.strategies.fedavg import Averaged
from hansa.strategies.keys import Context
from hansa.strategies.own_model import OwnModelWork, own_after, own_model
from hansa.strategies.pipeline import Names, Transform
from hansa.strategies.strategy import Endpoint, Problem
from hansa.strategies.types import Array, Tree
from hansa.strategies.work import PRIVATE, Cost, Plan, Trainer, update


@dataclass(frozen=True, kw_only=True)
class ContrastiveTraining(OwnModelWork):
    """Train towards the common model's representations and away from those of the client's last model; keep the new."""

    weighted: bool
    mu: float
    temperature: float

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=(self._plan(),))

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        plan = self._plan(own_model(states, payload["model"]))
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx, plan)
        after = own_after(states, payload["model"] + trained.delta_BP, trained.private_BQ)
        return update(trained, self.weighted), after

    def _plan(self, previous: Array | None = None) -> Plan:
        return Plan(contrast=self.mu, temperature=self.temperature, previous=previous)


@dataclass(frozen=True, kw_only=True)
class Moon(Averaged):
    """FedAvg of clients whose representations z of examples stay near the common model's. The local loss is

        f_i(y) - mu log(exp(cos(z, z_x) / t) / (exp(cos(z, z_x) / t) + exp(cos(z, z_i) / t))),

    where z_x is the round's model's representation, z_i that of the client's own last model, and t the
    ``temperature``. The representation is what the model's last linear layer gets. A client's first round is FedAvg's.
    """

    mu: float = 1.0
    temperature: float = 0.5
    lr: float = 1.0
    weighting: str = "examples"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        at_least("strategy.mu", self.mu, 0, "which is FedAvg")
        above("strategy.temperature", self.temperature, 0)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if "corrects" not in problem.training:
            raise CompositionError("MOON adds to the loss: choose a task that has no train() of its own.")
        if "contrasts" not in problem.training:
            raise CompositionError(
                "MOON contrasts what the last linear layer gets: choose a task whose model has a torch.nn.Linear."
            )
        work = ContrastiveTraining(weighted=self.average.weighted, mu=self.mu, temperature=self.temperature)
        return self.average.endpoints(problem, work)

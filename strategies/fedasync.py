"""FedAsync (Xie et al. 2019, "Asynchronous federated optimization", arXiv:1903.03934, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies.bound import Bound
from hansa.strategies.checks import at_least
from hansa.strategies.errors import CompositionError
from hansa.strategies.keys import Context
from hansa.strategies.pipeline import Names, Transform, compose
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array, Tree
from hansa.strategies.work import PRIVATE, Cost, ModelWork, Plan, Trainer

TRAIN = "train.fedasync"


@dataclass(frozen=True, kw_only=True)
class WholeTraining(ModelWork):
    """Train locally; sends the model itself, not its change, and ``share``, of which a sum tells how much faded."""

    plan: Plan

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=(self.plan,))

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx, self.plan)
        model_BP = payload["model"] + trained.delta_BP
        return {"model": model_BP, "share": np.ones(len(names)), "loss": trained.loss_B}, {PRIVATE: trained.private_BQ}


@dataclass(frozen=True, kw_only=True)
class FedAsync:
    """Mix each client's model into the common one, the less the older what it began from. With y_i the model of client
    i, that began from the common model of t_i rounds ago, and s its staleness weight, over the K answers of a round

        y_i = argmin f_i(y) + mu / 2 |y - x_(-t_i)|^2        by local training, from x_(-t_i)
        x <- x + lr / K sum_i s(t_i) (y_i - x).

    The paper's is K = 1, with lr its alpha and mu its rho: x <- (1 - alpha s) x + alpha s y. In step, where s = 1, and
    with lr = 1 it is FedAvg with uniform weights.
    """

    lr: float = 0.6
    mu: float = 0.01
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        if not 0 < self.lr <= 1:
            raise CompositionError(f"strategy.lr={self.lr}: it must be above 0, and 1 at most.")
        at_least("strategy.mu", self.mu, 0, "which pulls nobody back")

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if self.mu and "corrects" not in problem.training:
            raise CompositionError(
                "FedAsync adds to every gradient: set strategy.mu=0, or choose a task that has no train() of its own."
            )
        channels = (
            Channel(name="model", shape=(problem.parameters,), fades=True),
            Channel(name="share", nonnegative=True, fades=True),
            Channel(name="loss"),
        )
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        return {TRAIN: Endpoint(work=WholeTraining(plan=Plan(proximal=self.mu)), pipeline=pipeline)}

    def init(self, model_P: Array) -> State:
        return {"model": model_P}

    def round(self, state: State, now: Round) -> Flow:
        released = yield Request(endpoint=TRAIN, payload={"model": state["model"]})
        mean_P, share = released.mean("model", "count"), released.mean("share", "count")
        model_P = state["model"] + np.float32(self.lr) * (mean_P - share * state["model"])
        return {"model": model_P}, {"train_loss": float(released.mean("loss", "count"))}

"""FedCM (Xu et al. 2021, "FedCM: Federated learning with client-level momentum", arXiv:2106.10874, algorithm 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above
from hansa.strategies.errors import CompositionError
from hansa.strategies.keys import Context
from hansa.strategies.mean import moved
from hansa.strategies.pipeline import Names, Transform, compose
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array, Tree
from hansa.strategies.work import PRIVATE, ModelWork, Plan, Trainer

TRAIN = "train.fedcm"


@dataclass(frozen=True, kw_only=True)
class MomentumTraining(ModelWork):
    """Mix the common momentum into every step; send the update, and how far the steps went."""

    alpha: float

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        plan = Plan(correction=payload["momentum"] * ((1 - self.alpha) / self.alpha), rate=self.alpha)
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx, plan)
        parts = {"delta": trained.delta_BP, "travel": trained.travel_B / self.alpha, "loss": trained.loss_B}
        return parts, {PRIVATE: trained.private_BQ}


@dataclass(frozen=True, kw_only=True)
class FedCM:
    """Let every local step follow the last round's direction too. With K steps at rate eta, over a cohort S,

        y_i <- y_i - eta (alpha g_i(y_i) + (1 - alpha) m)           K times, from x
        m <- - sum_S (y_i - x) / sum_S (K_i eta)
        x <- x + lr / |S| sum_S (y_i - x).

    Where all take the same number of steps this is the paper's, whose server rate is lr K eta. Where nobody takes a
    step, as at a learning rate of 0, m stays. Clients keep nothing.
    """

    alpha: float = 0.1
    lr: float = 1.0
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        if not 0 < self.alpha <= 1:
            raise CompositionError(f"strategy.alpha={self.alpha}: the share of a client's own gradient is in (0, 1].")

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if not {"corrects", "sgd"} <= problem.training:
            raise CompositionError(
                "FedCM puts its momentum into plain SGD: set client.optimiser=sgd, client.momentum=0, "
                "client.weight_decay=0 and client.proximal=0, with a task that has no train() of its own."
            )
        channels = (
            Channel(name="delta", shape=(problem.parameters,), fades=True),
            Channel(name="travel", nonnegative=True),
            Channel(name="loss"),
        )
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        return {TRAIN: Endpoint(work=MomentumTraining(alpha=self.alpha), pipeline=pipeline)}

    def init(self, model_P: Array) -> State:
        return {"model": model_P, "momentum": np.zeros_like(model_P)}

    def round(self, state: State, now: Round) -> Flow:
        released = yield Request(endpoint=TRAIN, payload=state)
        mean_P = released.mean("delta", "count")
        model_P = moved(state["model"], self.lr * mean_P, mean_P, now.buffers)
        moving = released.total("travel") > 0
        momentum_P = -released.mean("delta", "travel") if moving else state["momentum"]
        return {"model": model_P, "momentum": momentum_P}, {"train_loss": float(released.mean("loss", "count"))}

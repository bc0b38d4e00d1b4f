"""FedDyn (Acar et al. 2021, "Federated learning based on dynamic regularization", arXiv:2111.04263, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above
from hansa.strategies.errors import CompositionError
from hansa.strategies.keys import Context
from hansa.strategies.pipeline import Names, Transform, compose
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array, Tree
from hansa.strategies.work import PRIVATE, Plan, Trainer, Work

TRAIN = "train.feddyn"
GRADIENT = "feddyn"
"""The client state g_i, its gradient at its last model; it never leaves the client."""


@dataclass(frozen=True, kw_only=True)
class DynamicTraining(Work):
    """Train on the loss that is regularised anew in each round; send the update."""

    advances: ClassVar[bool] = True
    alpha: float

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        return {PRIVATE: trainer.private(names), GRADIENT: np.zeros((len(names), parameters), np.float32)}

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        plan = Plan(correction=-states[GRADIENT], proximal=self.alpha)
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx, plan)
        after = {PRIVATE: trained.private_BQ, GRADIENT: states[GRADIENT]}
        return {"delta": trained.delta_BP, "loss": trained.loss_B}, after

    def advance(self, states: Tree, sent: Tree) -> dict[str, Array]:
        return {**states, GRADIENT: (states[GRADIENT] - self.alpha * sent["delta"]).astype(np.float32)}


@dataclass(frozen=True, kw_only=True)
class FedDyn:
    """Regularise each client so that its optimum agrees with the common one. Over a cohort S of N clients,

        y_i = argmin f_i(y) - <g_i, y> + alpha / 2 |y - x|^2        by local training, from x
        g_i <- g_i - alpha (y_i - x)
        h <- h - alpha / N sum_S (y_i - x)
        x <- x + 1 / |S| sum_S (y_i - x) - h / alpha.

    A client's g_i moves by what was sent of its update. Buffers, which no gradient trains, are averaged.
    """

    alpha: float = 0.1
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.alpha", self.alpha, 0, "such as 0.1")

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if "corrects" not in problem.training:
            raise CompositionError("FedDyn corrects every gradient: choose a task that has no train() of its own.")
        channels = (Channel(name="delta", shape=(problem.parameters,)), Channel(name="loss"))
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        return {TRAIN: Endpoint(work=DynamicTraining(alpha=self.alpha), pipeline=pipeline)}

    def init(self, model_P: Array) -> State:
        return {"model": model_P, "h": np.zeros_like(model_P)}

    def round(self, state: State, now: Round) -> Flow:
        released = yield Request(endpoint=TRAIN, payload={"model": state["model"]})
        h_P = state["h"] - self.alpha * released.mean("delta", float(now.population))
        for where in now.buffers:
            h_P[where] = 0
        model_P = state["model"] + released.mean("delta", "count") - h_P / self.alpha
        return {"model": model_P, "h": h_P}, {"train_loss": float(released.mean("loss", "count"))}

"""SCAFFOLD (Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1 with either option)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above
from hansa.strategies.errors import CompositionError
from hansa.strategies.keys import Context
from hansa.strategies.mean import moved
from hansa.strategies.pipeline import Names, Transform, compose
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array, Slices, Tree
from hansa.strategies.work import PLAIN, PRIVATE, Cost, Plan, Trained, Trainer, Work

TRAIN = "train.scaffold"
CONTROL = "scaffold"
"""The client state c_i, its control variate; it never leaves the client."""
FULL = Plan(steps=1, batch_size=0, part=1)
"""One step along the gradient over all data."""


@dataclass(frozen=True, kw_only=True)
class ScaffoldTraining(Work):
    """Train with the gradients g - c_i + c; send the update and the change of c_i."""

    advances: ClassVar[bool] = True
    option: int
    buffers: Slices = ()

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=(PLAIN, FULL) if self.option == 1 else (PLAIN,))

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        return {PRIVATE: trainer.private(names), CONTROL: np.zeros((len(names), parameters), np.float32)}

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        plan = Plan(correction=payload["control"] - states[CONTROL])
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx, plan)
        if self.option == 1:
            at_x = trainer.train(payload["model"], states[PRIVATE], names, ctx, FULL)
            change_BP = mean_gradient(at_x) - states[CONTROL]
        else:
            change_BP = mean_gradient(trained) - payload["control"]
        change_BP = np.where(trained.travel_B[:, None] > 0, change_BP, 0)
        for where in self.buffers:
            change_BP[:, where] = 0
        parts = {"delta": trained.delta_BP, "control": change_BP, "loss": trained.loss_B}
        return parts, {PRIVATE: trained.private_BQ, CONTROL: states[CONTROL]}

    def advance(self, states: Tree, sent: Tree) -> dict[str, Array]:
        return {**states, CONTROL: (states[CONTROL] + sent["control"]).astype(np.float32)}


def mean_gradient(trained: Trained) -> Array:
    """Return the mean of the gradients that SGD followed, (B, P), corrections included; 0 where it took no step."""
    travel_B1 = np.maximum(trained.travel_B, 1e-30)[:, None].astype(np.float32)
    return np.where(trained.travel_B[:, None] > 0, -trained.delta_BP / travel_B1, 0)


@dataclass(frozen=True, kw_only=True)
class Scaffold:
    """Correct each client's drift by control variates. With K local steps at rate eta, over a cohort S of N clients,

        y_i <- y_i - eta (g_i(y_i) - c_i + c)                 K times, from x
        c_i+ = g_i(x) over all data            (option 1: one more pass, and steadier)
        c_i+ = c_i - c + (x - y_i) / (K eta)   (option 2: for nothing)
        x <- x + lr / |S| sum_S (y_i - x),    c <- c + 1/N sum_S (c_i+ - c_i).

    K eta is the sum of the rates of the steps taken. A client's c_i moves by what was sent of its change. Buffers,
    which no gradient trains, are averaged and have no c.
    """

    lr: float = 1.0
    option: int = 2
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        if self.option not in (1, 2):
            raise CompositionError(f"strategy.option={self.option}: SCAFFOLD has options 1 and 2.")

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if not {"corrects", "sgd"} <= problem.training:
            raise CompositionError(
                "SCAFFOLD corrects every gradient of plain SGD: set client.optimiser=sgd, client.momentum=0, "
                "client.weight_decay=0 and client.proximal=0, with a task that has no train() of its own."
            )
        shape = (problem.parameters,)
        channels = (
            Channel(name="delta", shape=shape, fades=True),
            Channel(name="control", shape=shape),  # c stays the mean of all c_i, however old an answer is
            Channel(name="loss"),
        )
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        return {TRAIN: Endpoint(work=ScaffoldTraining(option=self.option, buffers=problem.buffers), pipeline=pipeline)}

    def init(self, model_P: Array) -> State:
        return {"model": model_P, "control": np.zeros_like(model_P)}

    def round(self, state: State, now: Round) -> Flow:
        released = yield Request(endpoint=TRAIN, payload=state)
        mean_P = released.mean("delta", "count")
        model_P = moved(state["model"], self.lr * mean_P, mean_P, now.buffers)
        control_P = state["control"] + released.mean("control", float(now.population))
        return {"model": model_P, "control": control_P}, {"train_loss": float(released.mean("loss", "count"))}

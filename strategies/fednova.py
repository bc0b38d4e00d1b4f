"""FedNova (Wang et al. 2020, arXiv:2007.07481), for plain SGD at the clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above, one_of
from hansa.strategies.errors import CompositionError
from hansa.strategies.keys import Context
from hansa.strategies.mean import WEIGHTINGS, moved, over, scaled, weighed
from hansa.strategies.pipeline import Names, Transform, compose
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array, Slices, Tree
from hansa.strategies.work import PRIVATE, ModelWork, Trainer

TRAIN = "train.fednova"


@dataclass(frozen=True, kw_only=True)
class NormalisedTraining(ModelWork):
    """Train; send the update by its travel, and the travel. A client that takes no step has no update to divide."""

    weighted: bool
    buffers: Slices

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx)
        by_B = 1 / np.where(trained.travel_B > 0, trained.travel_B, 1.0)
        delta_BP = scaled(trained.delta_BP, by_B, self.buffers)
        parts = {"delta": delta_BP, "travel": trained.travel_B, "loss": trained.loss_B}
        if self.weighted:
            parts["weight"] = trained.examples_B
        return parts, {PRIVATE: trained.private_BQ}


@dataclass(frozen=True, kw_only=True)
class FedNova:
    """Average directions, so that a client with more steps does not count for more.

    With update d_i of client i, weight w_i (its examples by W, or 1), and travel s_i, the sum of the learning rates of
    its steps,

        s <- sum_i w_i s_i / sum_i w_i
        x <- x + lr * s * sum_i w_i (d_i / s_i) / sum_i w_i.

    For steps of plain SGD at one rate eta, s_i is eta times their number, and s the paper's eta tau_eff. Where all
    travel the same way it is FedAvg. Buffers move by the mean of d_i.
    """

    lr: float = 1.0
    weighting: str = "examples"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        one_of("strategy.weighting", self.weighting, WEIGHTINGS)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if "sgd" not in problem.training:
            raise CompositionError(
                "FedNova divides by the steps of plain SGD: set client.optimiser=sgd, client.momentum=0, "
                "client.weight_decay=0 and client.proximal=0, with a task that has no train() of its own."
            )
        delta = Channel(name="delta", shape=(problem.parameters,), fades=True)
        travel = Channel(name="travel", nonnegative=True)
        channels = weighed(self.weighting, delta, travel, Channel(name="loss"))
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        work = NormalisedTraining(weighted=self.weighting == "examples", buffers=problem.buffers)
        return {TRAIN: Endpoint(work=work, pipeline=pipeline)}

    def init(self, model_P: Array) -> State:
        return {"model": model_P}

    def round(self, state: State, now: Round) -> Flow:
        released, every = (yield Request(endpoint=TRAIN, payload=state)), over(self.weighting)
        mean_P, travel = released.mean("delta", every), float(released.mean("travel", every))
        model_P = moved(state["model"], self.lr * travel * mean_P, mean_P, now.buffers)
        return {"model": model_P}, {"train_loss": float(released.mean("loss", every))}

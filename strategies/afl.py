"""Agnostic federated learning (AFL, Mohri et al. 2019, arXiv:1902.00146, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies import tilt
from hansa.strategies.bound import Bound
from hansa.strategies.checks import above, at_least
from hansa.strategies.keys import Context
from hansa.strategies.mean import moved, scaled
from hansa.strategies.pipeline import Names, Transform, compose
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array, Slices, Tree
from hansa.strategies.work import PLAIN, PRIVATE, Cost, Trainer, Work, mean_losses

TRAIN = "train.agnostic"
ASCENT = "ascent"
"""The client state s_i, the logarithm of its weight but for a constant that all share."""


@dataclass(frozen=True, kw_only=True)
class AgnosticTraining(Work):
    """Train, let s_i grow by the loss of the model as it came, and send e_i and the update times it, both from before,
    with the new s_i: where the loss is not finite the answer is refused, and the client stays as it was."""

    gamma: float
    buffers: Slices

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=(PLAIN,), losses=1)

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        return {PRIVATE: trainer.private(names), ASCENT: np.zeros((len(names), 1), np.float32)}

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        loss_B = mean_losses(trainer, payload["model"], states[PRIVATE], names)
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx)
        tilt_B = tilt.tilted(1.0, states[ASCENT][:, 0], payload["level"])
        delta_BP = scaled(trained.delta_BP, tilt_B, self.buffers)
        after_B1 = (states[ASCENT] + self.gamma * loss_B[:, None]).astype(np.float32)
        parts = {"delta": delta_BP, "tilt": tilt_B, "value": after_B1[:, 0], "loss": trained.loss_B}
        return parts, {PRIVATE: trained.private_BQ, ASCENT: after_B1}


@dataclass(frozen=True, kw_only=True)
class Afl:
    """Minimise the loss under the mixture of clients that is worst for the model,

        min_x max_lambda sum_i lambda_i F_i(x).

    With loss F_i(x) on client i's training data and update d_i, which stands for -grad F_i, a round takes a step in the
    model and one in the mixture, both from where they were:

        x <- x + lr * sum_i lambda_i d_i / sum_i lambda_i
        lambda_i <- lambda_i exp(gamma F_i(x)) / sum_j lambda_j exp(gamma F_j(x)).

    The paper adds gamma F_i and projects onto the simplex, for which one place must know all; the exponentiated step
    stays on it by itself. So client i keeps s_i, gamma times the sum of F_i over the rounds that counted it, and sends

        e_i = exp(s_i - level),

    lambda_i but for a constant, which cancels in the quotient of sums. Mixtures begin uniform. `tilt` says what the
    level is and where exponents are cut, with t = 1. gamma = 0 is FedAvg with equal weights. A mixture moves as long as
    losses differ, and ends at the clients that are worst off. Buffers move by the mean of d_i.
    """

    lr: float = 1.0
    gamma: float = 0.1
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        at_least("strategy.gamma", self.gamma, 0, "which is FedAvg with equal weights")

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        channels = (
            Channel(name="delta", shape=(problem.parameters,), fades=True),
            Channel(name="tilt", nonnegative=True),
            Channel(name="value"),
            Channel(name="loss"),
        )
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        work = AgnosticTraining(gamma=self.gamma, buffers=problem.buffers)
        return {TRAIN: Endpoint(work=work, pipeline=pipeline)}

    def init(self, model_P: Array) -> State:
        return {"model": model_P, "level": np.zeros(1, np.float32)}

    def round(self, state: State, now: Round) -> Flow:
        released = yield Request(endpoint=TRAIN, payload=state)
        step_P = self.lr * released.mean("delta", "tilt")
        model_P = moved(state["model"], step_P, released.mean("delta", "count"), now.buffers)
        tilt_mean, value_mean = (float(released.mean(name, "count")) for name in ("tilt", "value"))
        level_1 = tilt.releveled(1.0, state["level"], tilt_mean, value_mean)
        return {"model": model_P, "level": level_1}, {"train_loss": float(released.mean("loss", "count"))}

"""q-FedAvg (Li et al. 2020, arXiv:1905.10497, algorithm 2)."""

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
from hansa.strategies.work import PLAIN, PRIVATE, Cost, ModelWork, Trainer, mean_losses

TRAIN = "train.qfedavg"
LEAST = 1e-5
"""Losses below count as this: the power q - 1 of 0 is infinite for q < 1."""


@dataclass(frozen=True, kw_only=True)
class PoweredTraining(ModelWork):
    """Measure the loss F_i of the model as it came, train, and send e_i d_i with what the step is to be divided by."""

    q: float
    lipschitz: float
    buffers: Slices

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=(PLAIN,), losses=1)

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        loss_B = np.maximum(mean_losses(trainer, payload["model"], states[PRIVATE], names), LEAST)
        tilt_B = tilt.tilted(self.q, np.log(loss_B), payload["level"])
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx)
        growth_B = self.q * self.lipschitz * self._squares(trained.delta_BP) / loss_B
        parts = {
            "delta": scaled(trained.delta_BP, tilt_B, self.buffers),
            "curvature": tilt_B * (1 + growth_B),
            "tilt": tilt_B,
            "value": np.log(loss_B),
            "loss": trained.loss_B,
        }
        return parts, {PRIVATE: trained.private_BQ}

    def _squares(self, delta_BP: Array) -> Array:
        """Return |d_i|^2 over what gradients train."""
        trained_BP = delta_BP.astype(np.float64)
        for where in self.buffers:
            trained_BP[:, where] = 0
        return np.asarray(np.sum(trained_BP * trained_BP, axis=1))


@dataclass(frozen=True, kw_only=True)
class QFedAvg:
    """Weigh clients by the power q of their loss, so that those who are badly served count for more.

    With loss F_i(x) on client i's training data, update d_i and L = ``lipschitz``, the paper has

        D_i = F_i^q L d_i,    h_i = q F_i^(q-1) |L d_i|^2 + L F_i^q,    x <- x + sum_i D_i / sum_i h_i.

    Both sums are divided by L and by a common level^q, which changes nothing and keeps them finite:

        e_i = (F_i / level)^q = exp(q (log F_i - log level))
        x <- x + lr * sum_i e_i d_i / sum_i e_i (1 + q L |d_i|^2 / F_i).

    `tilt` says what the level is and where exponents are cut. q = 0 is FedAvg with uniform weights. Losses must not be
    below 0. Buffers move by the mean of d_i, and are left out of |d_i|.
    """

    lr: float = 1.0
    q: float = 1.0
    lipschitz: float = 10.0
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        at_least("strategy.q", self.q, 0)
        above("strategy.lipschitz", self.lipschitz, 0, "such as 1 / client.lr")

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        channels = (
            Channel(name="delta", shape=(problem.parameters,)),
            Channel(name="curvature", cap=2.0**31, nonnegative=True),
            Channel(name="tilt", nonnegative=True),
            Channel(name="value"),
            Channel(name="loss"),
        )
        row = Spec(channels=channels, cohort=problem.cohort)
        work = PoweredTraining(q=self.q, lipschitz=self.lipschitz, buffers=problem.buffers)
        return {TRAIN: Endpoint(work=work, pipeline=compose(row, self.pipeline))}

    def init(self, model_P: Array) -> State:
        return {"model": model_P, "level": np.zeros(1, np.float32)}

    def round(self, state: State, now: Round) -> Flow:
        released = yield Request(endpoint=TRAIN, payload=state)
        step_P = self.lr * released.mean("delta", "curvature")
        model_P = moved(state["model"], step_P, released.mean("delta", "count"), now.buffers)
        tilt_mean, value_mean = (float(released.mean(name, "count")) for name in ("tilt", "value"))
        level_1 = tilt.releveled(self.q, state["level"], tilt_mean, value_mean)
        return {"model": model_P, "level": level_1}, {"train_loss": float(released.mean("loss", "count"))}

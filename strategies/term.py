"""Tilted empirical risk minimisation over clients (TERM, Li et al. 2021, arXiv:2007.01162)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies import tilt
from hansa.strategies.bound import Bound
from hansa.strategies.checks import above, at_least, one_of
from hansa.strategies.keys import Context
from hansa.strategies.mean import WEIGHTINGS, moved, over, scaled, weighed
from hansa.strategies.pipeline import Names, Transform, compose
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array, Slices, Tree
from hansa.strategies.work import PLAIN, PRIVATE, Cost, ModelWork, Trainer, mean_losses

TRAIN = "train.tilted"


@dataclass(frozen=True, kw_only=True)
class TiltedTraining(ModelWork):
    """Measure the loss of the model as it came, train, and send the update times e_i, with e_i and the loss."""

    t: float
    weighted: bool
    buffers: Slices

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=(PLAIN,), losses=1)

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        value_B = mean_losses(trainer, payload["model"], states[PRIVATE], names)
        tilt_B = tilt.tilted(self.t, value_B, payload["level"])
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx)
        delta_BP = scaled(trained.delta_BP, tilt_B, self.buffers)
        parts = {"delta": delta_BP, "tilt": tilt_B, "value": value_B, "loss": trained.loss_B}
        if self.weighted:
            parts["weight"] = trained.examples_B
        return parts, {PRIVATE: trained.private_BQ}


@dataclass(frozen=True, kw_only=True)
class Term:
    """Weigh clients by the exponential of their loss, so that those who are badly served count for more.

    With loss F_i(x) on client i's training data, update d_i and weight w_i (its examples by W, or 1), the objective
    and a step are

        log(sum_i w_i exp(t F_i(x)) / sum_i w_i) / t
        e_i = exp(t (F_i(x) - level)),    x <- x + lr * sum_i w_i e_i d_i / sum_i w_i e_i.

    The weights w_i e_i are those of the objective's gradient, where d_i stands for -grad F_i. t = 0 is FedAvg; as t
    grows the step becomes that of the worst client, which is minimax fairness; then lower ``lr``, for the objective
    bends by t, and long steps jump from one client's side to another's. `tilt` says what the level is and where
    exponents are cut. Buffers move by the mean of d_i over w_i.
    """

    lr: float = 1.0
    t: float = 1.0
    weighting: str = "examples"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        one_of("strategy.weighting", self.weighting, WEIGHTINGS)
        at_least("strategy.t", self.t, 0, "which is FedAvg")

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        delta = Channel(name="delta", shape=(problem.parameters,))
        share = Channel(name="tilt", nonnegative=True)
        channels = weighed(self.weighting, delta, share, Channel(name="value"), Channel(name="loss"))
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        work = TiltedTraining(t=self.t, weighted=self.weighting == "examples", buffers=problem.buffers)
        return {TRAIN: Endpoint(work=work, pipeline=pipeline)}

    def init(self, model_P: Array) -> State:
        return {"model": model_P, "level": np.zeros(1, np.float32)}

    def round(self, state: State, now: Round) -> Flow:
        released, every = (yield Request(endpoint=TRAIN, payload=state)), over(self.weighting)
        step_P = self.lr * released.mean("delta", "tilt")
        model_P = moved(state["model"], step_P, released.mean("delta", every), now.buffers)
        tilt_mean, value_mean = (float(released.mean(name, every)) for name in ("tilt", "value"))
        level_1 = tilt.releveled(self.t, state["level"], tilt_mean, value_mean)
        return {"model": model_P, "level": level_1}, {"train_loss": float(released.mean("loss", every))}

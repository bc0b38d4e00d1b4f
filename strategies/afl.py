"""Agnostic federated learning (AFL, Mohri et al. 2019, arXiv:1902.00146, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above, at_least
from hansa.strategies.errors import CompositionError
from hansa.strategies.keys import Context
from hansa.strategies.mean import moved, scaled
from hansa.strategies.pipeline import Names, Transform, compose
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array, Slices, Tree
from hansa.strategies.work import PLAIN, PRIVATE, Cost, Trainer, Work, mean_losses

TRAIN = "train.agnostic"
ASCENT = "ascent"
"""The client state s_i, the logarithm of its weight."""
LOW, HIGH = -12.0, 4.0
"""Where s_i ends: shares differ by e^16 at most, and sums stay below their caps."""


@dataclass(frozen=True, kw_only=True)
class AgnosticTraining(Work):
    """Measure the loss of the model as it came, train, and move s_i; send e_i, and the update and F_i - F times it.

    Where the loss is not finite the answer is refused, and s_i stays.
    """

    gamma: float
    buffers: Slices

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=(PLAIN,), losses=1)

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        return {PRIVATE: trainer.private(names), ASCENT: np.zeros((len(names), 1), np.float32)}

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        with np.errstate(invalid="ignore"):
            gap_B = mean_losses(trainer, payload["model"], states[PRIVATE], names) - payload["value"]
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx)
        weight_B = np.exp(states[ASCENT][:, 0])
        parts = {
            "delta": scaled(trained.delta_BP, weight_B, self.buffers),
            "mixture": weight_B,
            "gap": weight_B * gap_B,
            "loss": trained.loss_B,
        }
        ascent_B1 = np.clip(states[ASCENT] + self.gamma * gap_B[:, None], LOW, HIGH)
        return parts, {PRIVATE: trained.private_BQ, ASCENT: ascent_B1.astype(np.float32)}


@dataclass(frozen=True, kw_only=True)
class Afl:
    """Minimise the loss under the mixture of clients that is worst for the model,

        min_x max_lambda sum_i lambda_i F_i(x).

    With loss F_i(x) on client i's training data and update d_i, which stands for -grad F_i, a round takes a step in the
    model and one in the mixture, both from where they were:

        x <- x + lr * sum_i lambda_i d_i
        lambda_i <- lambda_i exp(gamma F_i(x)) / sum_j lambda_j exp(gamma F_j(x)).

    The paper adds gamma F_i and projects onto the simplex, for which one place must know all weights; the exponentiated
    step stays on it by itself. Client i keeps s_i, 0 at first, and with F the mixture's loss in the last round

        e_i = exp(s_i),    lambda_i = e_i / sum_j e_j
        s_i <- s_i + gamma (F_i(x) - F),    cut to [-12, 4].

    F is the same for all and cancels; it keeps s_i small, so that little is cut. gamma = 0 is FedAvg with equal
    weights. The mixture is of all clients, so that all must be asked in each round; one that does not answer keeps its
    weight. The model is the last one, not the paper's mean over rounds. Buffers move by the mean of d_i.
    """

    lr: float = 1.0
    gamma: float = 0.1
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        at_least("strategy.gamma", self.gamma, 0, "which is FedAvg with equal weights")

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if problem.names is not None and problem.cohort.expected < len(problem.names):
            raise CompositionError(
                f"AFL's mixture is of all clients, and a round asks {problem.cohort.expected} of {len(problem.names)}: "
                "set cohort=everyone, or choose term."
            )
        delta = Channel(name="delta", shape=(problem.parameters,))
        channels = (delta, Channel(name="mixture", nonnegative=True), Channel(name="gap"), Channel(name="loss"))
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        work = AgnosticTraining(gamma=self.gamma, buffers=problem.buffers)
        return {TRAIN: Endpoint(work=work, pipeline=pipeline)}

    def init(self, model_P: Array) -> State:
        return {"model": model_P, "value": np.zeros(1, np.float32)}

    def round(self, state: State, now: Round) -> Flow:
        released = yield Request(endpoint=TRAIN, payload=state)
        step_P = self.lr * released.mean("delta", "mixture")
        model_P = moved(state["model"], step_P, released.mean("delta", "count"), now.buffers)
        value_1 = state["value"] + released.mean("gap", "mixture")
        metrics = {"train_loss": float(released.mean("loss", "count"))}
        return {"model": model_P, "value": value_1.astype(np.float32)}, metrics

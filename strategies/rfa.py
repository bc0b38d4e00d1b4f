"""The geometric median as sums, over several requests: RFA (Pillutla et al. 2022, arXiv:1912.13445)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above, at_least
from hansa.strategies.errors import CompositionError
from hansa.strategies.keys import Context
from hansa.strategies.mean import moved
from hansa.strategies.pipeline import Names, Pipeline, Transform, compose
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array, Tree
from hansa.strategies.work import PLAIN, PRIVATE, Cost, Trainer, Work

TRAIN, PASS = "train.rfa", "query.rfa"
COARSEST = 0.1
"""The largest step of a strength on the wire; those of updates of norm 1 are 1."""
UPDATE, LOSS = "rfa", "rfa_loss"
"""What a client remembers of a round: its update d_i and its training loss."""


@dataclass(frozen=True, kw_only=True)
class Weighing(Work):
    """Send the pull of the client's update towards it, from the payload's ``point``."""

    smoothing: float

    def cost(self, payload: Tree) -> Cost:
        return Cost()

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        return {UPDATE: np.zeros((len(names), parameters), np.float32), LOSS: np.zeros((len(names), 1), np.float32)}

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        gap_BP = states[UPDATE].astype(np.float64) - payload["point"]
        strength_B = 1 / np.maximum(self.smoothing, np.sqrt(np.einsum("bp,bp->b", gap_BP, gap_BP)))
        parts = {"delta": strength_B[:, None] * gap_BP, "loss": states[LOSS][:, 0], "strength": strength_B}
        return parts, dict(states)


@dataclass(frozen=True, kw_only=True)
class Training(Weighing):
    """Train locally from the payload's ``model``, remember the update, and send its pull."""

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=(PLAIN,))

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        return {PRIVATE: trainer.private(names), **super().start(trainer, parameters, names)}

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx)
        update_BP, loss_B1 = trained.delta_BP.astype(np.float32), np.asarray(trained.loss_B, np.float32)[:, None]
        after = {PRIVATE: trained.private_BQ, UPDATE: update_BP, LOSS: loss_B1}
        return super().run(trainer, payload, after, names, ctx)


@dataclass(frozen=True, kw_only=True)
class Rfa:
    """Move the model by the geometric median of the updates d_i. From y = 0, in each of ``passes`` requests,

        b_i = 1 / max(smoothing, |d_i - y|),    client i sends b_i (d_i - y) and b_i,
        y <- y + sum_i b_i (d_i - y) / sum_i b_i;    then    x <- x + lr * y.

    It is what `Robust` with the rule `GeometricMedian` does, but the coordinator needs sums alone, in O(P) memory. The
    sum of vectors takes at most 1 of each client, however far its update is. It withstands wrong updates, not clients
    that send a wrong b_i: one that claims a large b_i holds y where it is. The loss is the mean of the clients'.
    """

    lr: float = 1.0
    passes: int = 4
    smoothing: float = 1e-6
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        at_least("strategy.passes", self.passes, 1)
        above("strategy.smoothing", self.smoothing, 0)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        most = 1 / self.smoothing
        channels = (
            Channel(name="delta", shape=(problem.parameters,), bound=1.0, cap=2.0),
            Channel(name="loss"),
            Channel(name="strength", bound=most, cap=2 * most, nonnegative=True),
        )
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        self._check(pipeline)
        works = {TRAIN: Training(smoothing=self.smoothing), PASS: Weighing(smoothing=self.smoothing)}
        return {name: Endpoint(work=work, pipeline=pipeline) for name, work in works.items()}

    def _check(self, pipeline: Pipeline) -> None:
        """Refuse integers whose steps are too long for the strengths of honest clients, about 1 / |d_i|."""
        if pipeline.wire.limit and pipeline.influence > COARSEST * pipeline.wire.limit:
            raise CompositionError(
                "RFA: integers of this pipeline are too coarse for strengths: lower pipeline.bound.clip to what is "
                "sent, such as strength: 10, or set pipeline.quantise.bits=32 with cohort.max near the cohort."
            )

    def init(self, model_P: Array) -> State:
        return {"model": model_P}

    def round(self, state: State, now: Round) -> Flow:
        point_P = np.zeros_like(state["model"])
        released = yield Request(endpoint=TRAIN, payload={"model": state["model"], "point": point_P})
        point_P = point_P + released.mean("delta", "strength")
        for _ in range(self.passes - 1):
            released = yield Request(endpoint=PASS, payload={"point": point_P}, to="counted")
            point_P = point_P + released.mean("delta", "strength")
        metrics = {"train_loss": float(released.mean("loss", "count"))}
        return {"model": moved(state["model"], self.lr * point_P, point_P, now.buffers)}, metrics

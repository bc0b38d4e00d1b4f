"""IFCA (Ghosh et al. 2020, "An efficient framework for clustered federated learning").

arXiv:2006.04088, algorithm 1, with averaging of models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above, at_least
from hansa.strategies.keys import Context
from hansa.strategies.mean import moved
from hansa.strategies.pipeline import Names, Transform, compose
from hansa.strategies.questions import personal
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array, Slices, Tree
from hansa.strategies.work import PLAIN, PRIVATE, Cost, ModelWork, Trainer, mean_losses

TRAIN = "train.ifca"


def nearest(trainer: Trainer, models_KP: Array, private_BQ: Array, names: Names) -> Array:
    """Return which of K models has the least loss on each client's training data, (B,); of equal ones the first."""
    losses_KB = np.stack([mean_losses(trainer, model_P, private_BQ, names) for model_P in models_KP])
    return np.asarray(losses_KB.argmin(axis=0))


@dataclass(frozen=True, kw_only=True)
class ClusterTraining(ModelWork):
    """Train the model that suits the client best; send its update in that model's place."""

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=(PLAIN,), losses=len(payload["models"]))

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        models_KP = payload["models"]
        best_B = nearest(trainer, models_KP, states[PRIVATE], names)
        trained = trainer.train(models_KP[best_B], states[PRIVATE], names, ctx)
        member_BK = np.eye(len(models_KP), dtype=np.float32)[best_B]
        delta_BKP = np.where(member_BK[:, :, None] > 0, trained.delta_BP[:, None], 0)
        parts = {"delta": delta_BKP, "members": member_BK, "loss": trained.loss_B}
        return parts, {PRIVATE: trained.private_BQ}


@dataclass(frozen=True, kw_only=True)
class EvaluatingNearest(ModelWork):
    """Evaluate the model that suits the client best."""

    def cost(self, payload: Tree) -> Cost:
        return Cost(losses=len(payload["models"]), evaluations=1)

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        best_B = nearest(trainer, payload["models"], states[PRIVATE], names)
        return trainer.evaluate(payload["models"][best_B], states[PRIVATE], names), dict(states)


@dataclass(frozen=True, kw_only=True)
class Ifca:
    """Learn ``clusters`` models x_1 ... x_K, each by the clients that it suits best:

        j_i = argmin_j f_i(x_j)                        on client i's training data
        y_i = local training from x_(j_i)
        x_j <- x_j + lr mean_(i: j_i = j) (y_i - x_j).

    The models begin around the first one, at a distance of ``spread`` times its root mean square, for equal ones would
    stay equal; buffers begin the same. The common model is their mean. Evaluation also tells, as ``personal_`` metrics,
    what the model reaches that suits each client best. An answer is K times as large as the model.
    """

    clusters: int = 2
    spread: float = 0.5
    lr: float = 1.0
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        at_least("strategy.clusters", self.clusters, 1, "which is FedAvg")
        above("strategy.spread", self.spread, 0)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        channels = (
            Channel(name="delta", shape=(self.clusters, problem.parameters), fades=True),
            Channel(name="members", shape=(self.clusters,), bound=1.0, cap=1.0, nonnegative=True),
            Channel(name="loss"),
        )
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        return {TRAIN: Endpoint(work=ClusterTraining(), pipeline=pipeline), **personal(problem, EvaluatingNearest())}

    def init(self, model_P: Array) -> State:
        return {"model": model_P}

    def round(self, state: State, now: Round) -> Flow:
        models_KP = state["models"] if "models" in state else self._spread(state["model"], now.buffers)
        released = yield Request(endpoint=TRAIN, payload={"models": models_KP})
        members_K = released.total("members")
        step_KP = released.total("delta") / np.maximum(members_K, 1.0)[:, None]
        metrics = {"train_loss": float(released.mean("loss", "count")), "clusters": float((members_K > 0).sum())}
        models_KP = moved(models_KP, self.lr * step_KP, step_KP, now.buffers)
        return self._state(models_KP.astype(np.float32)), metrics

    def _spread(self, model_P: Array, buffers: Slices) -> Array:
        """Return the first models; buffers are not moved, for a variance below 0 would be none."""
        trained_P = np.ones(len(model_P), bool)
        for where in buffers:
            trained_P[where] = False
        squares = np.sum(model_P[trained_P].astype(np.float64) ** 2)
        scale = self.spread * math.sqrt(squares / max(1, trained_P.sum()))
        noise_KP = np.random.Generator(np.random.Philox(key=0)).standard_normal((self.clusters, len(model_P)))
        noise_KP *= (scale or self.spread) * (self.clusters > 1) * trained_P
        return np.asarray(model_P + noise_KP, np.float32)

    def _state(self, models_KP: Array) -> State:
        return {"model": models_KP.mean(axis=0), "models": models_KP}

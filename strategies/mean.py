"""The mean of the clients' updates: what FedAvg and every server optimiser ask for, and how it moves a model."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hansa.strategies.aggregate import Released, median
from hansa.strategies.checks import one_of
from hansa.strategies.pipeline import Transform, compose
from hansa.strategies.spec import WEIGHT, Channel, Spec
from hansa.strategies.strategy import Endpoint, Metrics, Problem, Request, Round
from hansa.strategies.types import Array, Slices, Tree
from hansa.strategies.work import ClientWork, LocalTraining

TRAIN = "train.update"
WEIGHTINGS = ("examples", "uniform")


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The mean update of a cohort. With update d_i of client i and weight w_i (its examples by W, or 1),

        d = sum_i w_i d_i / D.

    D is the sum of the weights, or with ``denominator="expected"`` the constant cohort.expected.
    """

    weighting: str
    denominator: str
    pipeline: tuple[Transform, ...]

    def __post_init__(self) -> None:
        one_of("strategy.weighting", self.weighting, WEIGHTINGS)
        one_of("strategy.denominator", self.denominator, ("weights", "expected"))

    def endpoints(self, problem: Problem, work: ClientWork | None = None) -> Mapping[str, Endpoint]:
        """Return the endpoint of local training, or of other work that sends the same channels."""
        delta = Channel(name="delta", shape=(problem.parameters,), fades=True)
        row = Spec(channels=weighed(self.weighting, delta, Channel(name="loss")), cohort=problem.cohort)
        work = work or LocalTraining(weighted=self.weighting == "examples")
        return {TRAIN: Endpoint(work=work, pipeline=compose(row, self.pipeline))}

    def update(self, state: Tree, now: Round) -> Generator[Request, Released, tuple[Array, Metrics]]:
        """Let the cohort train ``state["model"]``; return the mean update, new memory, and the round's metrics."""
        released = yield Request(endpoint=TRAIN, payload={"model": state["model"]})
        every = over(self.weighting)
        mean_P = released.mean("delta", every if self.denominator == "weights" else float(now.cohort.expected))
        return mean_P, {"train_loss": float(released.mean("loss", every))}


def weighed(weighting: str, *channels: Channel) -> tuple[Channel, ...]:
    """Return a row's channels, multiplied by the client's weight and with it where clients are weighed by examples."""
    if weighting == "uniform":
        return channels
    return (*(replace(channel, weighted=True) for channel in channels), WEIGHT)


def over(weighting: str) -> str:
    """Return the denominator of a mean over clients, for ``Released.mean``."""
    return "count" if weighting == "uniform" else WEIGHT.name


def moved(model_P: Array, step_P: Array, mean_P: Array, buffers: Slices) -> Array:
    """Return the model, or K of them, (K, P), after a step, in the step's memory.

    Buffers, which no gradient trains, move by the mean.
    """
    for where in buffers:
        step_P[..., where] = mean_P[..., where]
    step_P += model_P
    return step_P


def set_apart(rows_GP: Array, buffers: Slices) -> Array:
    """Return the median of rows in the buffers, (P,) and 0 elsewhere; in the rows buffers become 0, so that distances
    are those of what gradients train, and not of counts such as BatchNorm's of its batches."""
    apart_P = np.zeros(rows_GP.shape[1], np.float32)
    for where in buffers:
        apart_P[where] = median(rows_GP[:, where])
        rows_GP[:, where] = 0
    return apart_P


def scaled(delta_BP: Array, factor_B: Array, buffers: Slices) -> Array:
    """Return clients' updates times a factor of each, float32. Buffers, which no gradient trains, stay as they are."""
    scaled_BP = delta_BP * factor_B[:, None].astype(np.float32)
    for where in buffers:
        scaled_BP[:, where] = delta_BP[:, where]
    return scaled_BP

"""Coordinate-wise median (Yin et al. 2018, arXiv:1803.01498, algorithm 1, option I)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hansa.strategies.aggregate import ROWS
from hansa.strategies.bound import Bound
from hansa.strategies.pipeline import Transform, compose
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array
from hansa.strategies.work import LocalTraining

TRAIN = "train.update"


@dataclass(frozen=True, kw_only=True)
class Median:
    """Move the model by the median of the clients' updates, coordinate by coordinate:

        x_p <- x_p + lr * median_i d_ip.

    It withstands wrong updates of fewer than half of the clients. It needs their rows: O(cohort x P) memory.
    """

    lr: float = 1.0
    pipeline: tuple[Transform, ...] = (Bound(),)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        channels = (Channel(name="delta", shape=(problem.parameters,)), Channel(name="loss"))
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        return {TRAIN: Endpoint(work=LocalTraining(weighted=False), pipeline=pipeline, aggregator=ROWS)}

    def init(self, model_P: Array) -> State:
        return {"model": model_P}

    def round(self, state: State, now: Round) -> Flow:
        released = yield Request(endpoint=TRAIN, payload=state)
        step_P = released.mean("delta", "count")
        return {"model": state["model"] + self.lr * step_P}, {"train_loss": float(released.mean("loss", "count"))}

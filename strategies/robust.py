"""Robust aggregation: a rule over the clients' rows takes the place of their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies.aggregate import Aggregator, median
from hansa.strategies.bound import Bound
from hansa.strategies.errors import CompositionError
from hansa.strategies.mean import moved
from hansa.strategies.pipeline import Transform, compose
from hansa.strategies.rules import Median, Rule, bucketed
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array
from hansa.strategies.work import LocalTraining

TRAIN = "train.update"


@dataclass(frozen=True, kw_only=True)
class Robust:
    """Move the model by a rule's value of the clients' updates d_i, each of the same weight:

        x <- x + lr * rule(d_1, ..., d_G).

    ``groups=0`` keeps a row a client, in O(cohort x P) memory. ``groups=m`` gives the rule the means of m groups, as
    the median of means has it, in O(m x P). ``bucket`` is the number of rows (or groups) whose mean the rule
    gets in their place. The metrics are the median of the clients', or of the groups'. Buffers move by the rule's
    value itself, whatever ``lr`` is.
    """

    lr: float = 1.0
    rule: Rule = Median()
    groups: int = 0
    bucket: int = 1
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        if self.bucket < 1:
            raise CompositionError(f"strategy.bucket={self.bucket}: it must be at least 1, which is no bucketing.")
        if self.groups < 0:
            raise CompositionError(f"strategy.groups={self.groups}: it must be at least 0, which is a row a client.")

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        self.rule.check(math.ceil((self.groups or problem.cohort.expected) / self.bucket))
        channels = (Channel(name="delta", shape=(problem.parameters,), fades=True), Channel(name="loss"))
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        aggregator = Aggregator(groups=self.groups, rule=median)
        return {TRAIN: Endpoint(work=LocalTraining(weighted=False), pipeline=pipeline, aggregator=aggregator)}

    def init(self, model_P: Array) -> State:
        return {"model": model_P, **({"last": np.zeros_like(model_P)} if self.rule.remembers else {})}

    def round(self, state: State, now: Round) -> Flow:
        released = yield Request(endpoint=TRAIN, payload={"model": state["model"]})
        rows_GP = bucketed(released.means("delta", "count"), self.bucket, released.draw("buckets"))
        step_P = self.rule(rows_GP, state.get("last"))
        metrics = {"train_loss": float(released.mean("loss", "count"))}
        if selected := self.rule.selects(len(rows_GP)):
            metrics["selected"] = float(selected)
        last = {"last": step_P} if self.rule.remembers else {}
        model_P = moved(state["model"], self.lr * step_P, step_P, now.buffers)
        return {"model": model_P, **last}, metrics

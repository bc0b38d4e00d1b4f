"""Robust aggregation: a rule over the clients' rows takes the place of their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies.aggregate import Aggregator, median
from hansa.strategies.bound import Bound
from hansa.strategies.checks import above, at_least, decay
from hansa.strategies.errors import CompositionError, RoundLost, StrategyError
from hansa.strategies.mean import moved, set_apart
from hansa.strategies.pipeline import Transform, compose
from hansa.strategies.rules import Median, Rule, bucketed
from hansa.strategies.rules.rule import enough
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array
from hansa.strategies.work import ClientWork, LocalTraining
from hansa.strategies.worker_momentum import MomentumTraining

TRAIN = "train.update"


@dataclass(frozen=True, kw_only=True)
class Robust:
    """Move the model by a rule's value of the clients' updates d_i, each of the same weight:

        x <- x + lr * rule(d_1, ..., d_G).

    ``groups=0`` keeps a row a client, in O(cohort x P) memory. ``groups=m`` gives the rule the means of m groups, as
    the median of means has it, in O(m x P). ``bucket`` is the number of rows (or groups) whose mean the rule
    gets in their place. With ``worker_momentum`` b above 0 a client keeps the running mean of its updates and sends it,
    m_i <- (1 - b) d_i + b m_i from m_i = d_i on, in place of d_i. The metrics are the median of the clients', or of the
    groups'. Buffers, which no gradient trains, move by the median of the rows, and no rule sees them.
    """

    lr: float = 1.0
    rule: Rule = Median()
    groups: int = 0
    bucket: int = 1
    worker_momentum: float = 0.0
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        at_least("strategy.bucket", self.bucket, 1, "which is no bucketing")
        at_least("strategy.groups", self.groups, 0, "which is a row a client")
        decay("strategy.worker_momentum", self.worker_momentum)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        clients = problem.cohort.expected
        self._check(min(self.groups or clients, clients), CompositionError)
        channels = (Channel(name="delta", shape=(problem.parameters,), fades=True), Channel(name="loss"))
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        aggregator = Aggregator(groups=self.groups, rule=median)
        return {TRAIN: Endpoint(work=self._work(problem), pipeline=pipeline, aggregator=aggregator)}

    def _work(self, problem: Problem) -> ClientWork:
        if self.worker_momentum == 0:
            return LocalTraining(weighted=False)
        return MomentumTraining(momentum=self.worker_momentum, buffers=problem.buffers)

    def _check(self, rows: int, error: type[StrategyError]) -> None:
        enough(rows, self.bucket, f"strategy.bucket={self.bucket}", "lower it, or have more clients", error)
        self.rule.check(math.ceil(rows / self.bucket), error)

    def init(self, model_P: Array) -> State:
        return {"model": model_P, **({"last": np.zeros_like(model_P)} if self.rule.remembers else {})}

    def round(self, state: State, now: Round) -> Flow:
        released = yield Request(endpoint=TRAIN, payload={"model": state["model"]})
        means_GP = released.means("delta", "count")
        self._check(len(means_GP), RoundLost)
        rows_GP = bucketed(means_GP, self.bucket, released.draw("buckets"))
        apart_P = set_apart(rows_GP, now.buffers)
        step_P = self.rule(rows_GP, state.get("last"))
        metrics = {"train_loss": float(released.mean("loss", "count"))}
        if selected := self.rule.selects(len(rows_GP)):
            metrics["selected"] = float(selected)
        last = {"last": step_P} if self.rule.remembers else {}
        return {"model": moved(state["model"], self.lr * step_P, apart_P, now.buffers), **last}, metrics

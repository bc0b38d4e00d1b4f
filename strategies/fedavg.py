"""Federated averaging (McMahan et al. 2017, arXiv:1602.05629, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hansa.strategies.bound import Bound
from hansa.strategies.errors import CompositionError
from hansa.strategies.pipeline import Transform, compose
from hansa.strategies.spec import WEIGHT, Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array
from hansa.strategies.work import LocalTraining

TRAIN = "train.update"


@dataclass(frozen=True, kw_only=True)
class FedAvg:
    """Move the model by the mean of the clients' updates.

    With update d_i of client i, weight w_i (its examples by W, or 1) and server learning rate ``lr``,

        x <- x + lr * sum_i w_i d_i / D.

    D is the sum of the weights, or with ``denominator="expected"`` the constant cohort.expected, so that one client's
    influence on the model is bounded; with weights let max_examples be about one client's examples, for w_i <= 1.
    """

    lr: float = 1.0
    weighting: str = "examples"
    denominator: str = "weights"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        for field, value, known in (
            ("weighting", self.weighting, ("examples", "uniform")),
            ("denominator", self.denominator, ("weights", "expected")),
        ):
            if value not in known:
                raise CompositionError(f"strategy.{field}={value!r}: it is one of {', '.join(known)}.")

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        weighted = self.weighting == "examples"
        channels = (
            Channel(name="delta", shape=(problem.parameters,), weighted=weighted),
            Channel(name="loss", weighted=weighted),
            *([WEIGHT] if weighted else []),
        )
        row = Spec(channels=channels, cohort=problem.cohort)
        return {TRAIN: Endpoint(work=LocalTraining(weighted=weighted), pipeline=compose(row, self.pipeline))}

    def init(self, model_P: Array) -> State:
        return {"model": model_P}

    def round(self, state: State, now: Round) -> Flow:
        released = yield Request(endpoint=TRAIN, payload=state)
        mean_over = WEIGHT.name if self.weighting == "examples" else "count"
        over = mean_over if self.denominator == "weights" else float(now.cohort.expected)
        step_P = released.mean("delta", over)
        step_P *= self.lr
        step_P += state["model"]
        return {"model": step_P}, {"train_loss": float(released.mean("loss", mean_over))}

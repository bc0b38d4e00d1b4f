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
from hansa.strategies.work import ClientWork, LocalTraining

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

    @property
    def weighted(self) -> bool:
        """Whether clients count by their examples."""
        return self.weighting == "examples"

    def endpoints(self, problem: Problem, work: ClientWork | None = None) -> Mapping[str, Endpoint]:
        """Return the one endpoint; other algorithms let clients do other work with rows of the same channels."""
        weighted = self.weighted
        channels = (
            Channel(name="delta", shape=(problem.parameters,), weighted=weighted),
            Channel(name="loss", weighted=weighted),
            *([WEIGHT] if weighted else []),
        )
        row = Spec(channels=channels, cohort=problem.cohort)
        work = work or LocalTraining(weighted=weighted)
        return {TRAIN: Endpoint(work=work, pipeline=compose(row, self.pipeline))}

    def init(self, model_P: Array) -> State:
        return {"model": model_P}

    def round(self, state: State, now: Round) -> Flow:
        released = yield Request(endpoint=TRAIN, payload=state)
        mean_over = WEIGHT.name if self.weighted else "count"
        over = mean_over if self.denominator == "weights" else float(now.cohort.expected)
        step_P = released.mean("delta", over)
        step_P *= self.lr
        step_P += state["model"]
        return {"model": step_P}, {"train_loss": float(released.mean("loss", mean_over))}

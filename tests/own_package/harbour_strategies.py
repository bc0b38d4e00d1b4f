"""FedAvg of a model that lies on a rope: it moves no further than that in a round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies import Bound, Endpoint, FedAvg, Flow, Problem, Round, State, Transform
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Tethered:
    """Cut FedAvg's step to the length ``rope``, in the L2 norm."""

    rope: float = 1.0
    pipeline: tuple[Transform, ...] = (Bound(),)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        return FedAvg(pipeline=self.pipeline).endpoints(problem)

    def init(self, model_P: Array) -> State:
        return {"model": model_P}

    def round(self, state: State, now: Round) -> Flow:
        after, metrics = yield from FedAvg(pipeline=self.pipeline).round(state, now)
        step_P = after["model"] - state["model"]
        step_P *= min(1.0, self.rope / max(float(np.linalg.norm(step_P)), 1e-30))
        return {"model": state["model"] + step_P}, metrics


class Half:
    """A strategy that was never finished."""

    def init(self, model_P: Array) -> State:
        return {"model": model_P}

"""FLTrust (Cao et al. 2021, arXiv:2012.13995, algorithm 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hansa.strategies.aggregate import ROWS, Released
from hansa.strategies.bound import Bound
from hansa.strategies.checks import above
from hansa.strategies.columns import combined, products
from hansa.strategies.errors import CompositionError, RoundLost
from hansa.strategies.mean import moved, set_apart
from hansa.strategies.pipeline import Names, Transform, compose
from hansa.strategies.spec import Channel, Spec
from hansa.strategies.strategy import Endpoint, Flow, Problem, Request, Round, State
from hansa.strategies.types import Array
from hansa.strategies.work import LocalTraining

TRAIN = "train.update"


@dataclass(frozen=True, kw_only=True)
class FLTrust:
    """Trust the clients' updates d_i as far as they point the way of d_0, that of the client named ``root``:

        t_i = max(0, d_i.d_0 / (|d_i| |d_0|)),
        x <- x + lr / sum_i t_i * sum_i t_i |d_0| / |d_i| d_i.

    The root client holds a little clean data of the coordinator's own, and runs beside it. It is asked first in every
    round, and does not count among the others. The metric ``trusted`` says how many have t_i above 0;
    where nobody has, the model stays. Buffers, which no gradient trains, move by the others' median, whoever is
    trusted.
    """

    lr: float = 1.0
    root: str = "root"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)

    @property
    def trusted(self) -> Names:
        """Clients that belong to the coordinator: in a simulation none of them attacks."""
        return (self.root,)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if problem.names is not None and self.root not in problem.names:
            raise CompositionError(
                f"strategy.root={self.root!r}: no client has this name: name the one that holds the clean data."
            )
        channels = (Channel(name="delta", shape=(problem.parameters,)), Channel(name="loss"))
        pipeline = compose(Spec(channels=channels, cohort=problem.cohort), self.pipeline)
        work = LocalTraining(weighted=False)
        return {TRAIN: Endpoint(work=work, pipeline=pipeline, aggregator=ROWS, keep=True)}

    def init(self, model_P: Array) -> State:
        return {"model": model_P}

    def round(self, state: State, now: Round) -> Flow:
        own = yield Request(endpoint=TRAIN, payload={"model": state["model"]}, to=(self.root,))
        released = yield Request(endpoint=TRAIN, payload={"model": state["model"]})
        if released.names == (self.root,):
            raise RoundLost(f"nobody but the root client {self.root!r} answered: start more clients.")
        rows_GP, root_1P = self._others(released), own.means("delta", "count")
        set_apart(root_1P, now.buffers)
        apart_P = set_apart(rows_GP, now.buffers)
        step_P, trusted = trusting(rows_GP, root_1P[0])
        metrics = {"train_loss": float(released.mean("loss", "count")), "trusted": float(trusted)}
        return {"model": moved(state["model"], self.lr * step_P, apart_P, now.buffers)}, metrics

    def _others(self, released: Released) -> Array:
        return released.means("delta", "count")[[name != self.root for name in released.names]]


def trusting(rows_GP: Array, root_P: Array) -> tuple[Array, int]:
    """Return the mean of rows by trust, shape (P,), float32, and how many are trusted; 0 where nobody is."""
    norm_G, along_G = np.sqrt(np.array([_square(row_P) for row_P in rows_GP])), products(rows_GP, root_P)
    root = np.sqrt(_square(root_P))
    trust_G = np.divide(np.maximum(along_G, 0), norm_G * root, out=np.zeros(len(rows_GP)), where=along_G > 0)
    share_G = np.divide(trust_G * root, norm_G * trust_G.sum(), out=np.zeros(len(rows_GP)), where=trust_G > 0)
    return combined(rows_GP, share_G).astype(np.float32), int(np.count_nonzero(trust_G))


def _square(row_P: Array) -> float:
    return float(products(row_P[None], row_P)[0])

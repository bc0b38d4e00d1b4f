"""Ditto (Li et al. 2021, "Ditto: Fair and robust federated learning through personalization", arXiv:2012.04221)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hansa.strategies.bound import Bound
from hansa.strategies.checks import above, at_least
from hansa.strategies.errors import CompositionError
from hansa.strategies.fedavg import Averaged
from hansa.strategies.keys import Context
from hansa.strategies.own_model import EvaluatingOwn, OwnModelWork, own_after, own_model
from hansa.strategies.pipeline import Names, Transform
from hansa.strategies.questions import personal
from hansa.strategies.strategy import Endpoint, Problem
from hansa.strategies.types import Array, Tree
from hansa.strategies.work import PLAIN, PRIVATE, Cost, Plan, Trainer, update


@dataclass(frozen=True, kw_only=True)
class DittoTraining(OwnModelWork):
    """Train the common model as FedAvg does, and the client's own beside it."""

    weighted: bool
    attraction: float
    epochs: int | None

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=(PLAIN, self._plan()))

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        model_P = payload["model"]
        common = trainer.train(model_P, states[PRIVATE], names, ctx)
        start_BP = own_model(states, model_P)
        own = trainer.train(start_BP, states[PRIVATE], names, ctx, self._plan(model_P))
        return update(common, self.weighted), own_after(states, start_BP + own.delta_BP, common.private_BQ)

    def _plan(self, anchor: Array | None = None) -> Plan:
        return Plan(proximal=self.attraction, anchor=anchor, epochs=self.epochs)


@dataclass(frozen=True, kw_only=True)
class Ditto(Averaged):
    """FedAvg, and for each client a model v_k of its own that is drawn to the common one (algorithm 1):

        x <- FedAvg
        v_k <- v_k - eta (g_k(v_k) + attraction (v_k - x))        ``epochs`` passes (empty: the client's own number)

    ``attraction`` is the paper's lambda: 0 trains alone. A client that takes part for the first time starts at x.
    Evaluation also tells what the clients' own models reach, as ``personal_`` metrics.
    """

    attraction: float = 0.1
    epochs: int | None = None
    lr: float = 1.0
    weighting: str = "examples"
    pipeline: tuple[Transform, ...] = (Bound(),)

    def __post_init__(self) -> None:
        above("strategy.lr", self.lr, 0)
        at_least("strategy.attraction", self.attraction, 0)

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        if "corrects" not in problem.training:
            raise CompositionError("Ditto adds to every gradient: choose a task that has no train() of its own.")
        work = DittoTraining(weighted=self.average.weighted, attraction=self.attraction, epochs=self.epochs)
        return {**self.average.endpoints(problem, work), **personal(problem, EvaluatingOwn())}

"""Federated evaluation and federated statistics: sums over clients, through endpoints like any other."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

from hansa.strategies.aggregate import ROWS, SUM, Released
from hansa.strategies.pipeline import compose
from hansa.strategies.spec import Channel, Cohort, Spec
from hansa.strategies.strategy import Address, Endpoint, Problem, Request
from hansa.strategies.types import Tree
from hansa.strategies.work import Asking, ClientWork, Evaluating

EVALUATE, PERSONAL = "evaluate.model", "evaluate.personal"
"""Evaluation of the common model, and of what each client makes of it, where a strategy has that."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Evaluate a model at the clients that ``to`` names, at none where it is empty.

    ``by_client`` keeps each client's sums apart, for the coordinator to see; a mean is then that of the median client.
    """

    channels: tuple[Channel, ...]
    to: Address = "everyone"
    by_client: bool = False
    endpoint: str = EVALUATE

    def endpoints(self, cohort: Cohort) -> Mapping[str, Endpoint]:
        pipeline = compose(Spec(channels=self.channels, cohort=cohort), ())
        aggregator = ROWS if self.by_client else SUM
        return {self.endpoint: Endpoint(work=Evaluating(), pipeline=pipeline, aggregator=aggregator)}

    def round(self, state: Tree) -> Generator[Request, Released, Released]:
        payload = state if self.endpoint == PERSONAL else {"model": state["model"]}
        return (yield Request(endpoint=self.endpoint, payload=payload, to=self.to))


def personal(problem: Problem, work: ClientWork) -> Mapping[str, Endpoint]:
    """Return the endpoint by which a strategy evaluates each client's own model; none where nothing is measured."""
    if not problem.metrics:
        return {}
    pipeline = compose(Spec(channels=problem.metrics, cohort=problem.cohort), ())
    return {PERSONAL: Endpoint(work=work, pipeline=pipeline)}


@dataclass(frozen=True, kw_only=True)
class Question:
    """Ask everyone once for the sums behind one statistic."""

    query: str
    channels: tuple[Channel, ...]

    @property
    def endpoint(self) -> str:
        return f"query.{self.query}"

    def endpoints(self, cohort: Cohort) -> Mapping[str, Endpoint]:
        pipeline = compose(Spec(channels=self.channels, cohort=cohort), ())
        return {self.endpoint: Endpoint(work=Asking(query=self.query), pipeline=pipeline)}

    def round(self) -> Generator[Request, Released, Released]:
        return (yield Request(endpoint=self.endpoint, payload={}, to="everyone"))

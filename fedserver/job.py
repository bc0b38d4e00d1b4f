"""What a run is, ready to be carried out: built from a configuration, with no file or socket in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hansa.fedlink.messages import Settings
from hansa.fedserver.policy import Policy
from hansa.fedserver.selection.selection import Selection
from hansa.fedserver.target import Target
from hansa.fedtasks import Metric, Query
from hansa.strategies import CompositionError, Endpoint, Evaluation, Layout, Problem, Question, Strategy
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run: what is learnt (strategy, endpoints, model), how often, and how results are read.

    ``endpoints`` are the strategy's of ``problem``, and others. ``tensors`` is the initial model. ``questions`` are
    asked once before round 1, each with the query that turns its answer into fitted tensors. ``evaluate_every`` is in
    rounds, 0 for never. What it takes to reach ``target`` is told.
    """

    task: str
    strategy_name: str
    strategy: Strategy
    problem: Problem
    endpoints: Mapping[str, Endpoint]
    layout: Layout
    tensors: Mapping[str, Array]
    questions: Sequence[tuple[Question, Query]]
    evaluation: Evaluation
    metrics: Sequence[Metric]
    cohort: Policy
    selection: Selection
    rounds: int
    evaluate_every: int
    lost_rounds: int
    seed: int
    settings: Settings
    digest: str
    target: Target | None = None

    def refusal(self, cohort: int, names: Sequence[str] | None = None) -> str | None:
        """Say why the strategy cannot learn from rounds of so many clients, of those of these names; None if it can."""
        numbers = replace(self.problem.cohort, expected=cohort)
        try:
            self.strategy.endpoints(replace(self.problem, cohort=numbers, names=names))
        except CompositionError as error:
            return str(error)
        return None

    def least(self) -> int:
        """Return how many clients a round needs: cohort.min, or more where the strategy cannot do with that."""
        numbers = self.problem.cohort
        return next((n for n in range(numbers.min, numbers.expected) if self.refusal(n) is None), numbers.expected)

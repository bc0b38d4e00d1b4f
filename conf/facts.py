"""What is to be known of a strategy, read off its code: paper, equations, settings, state and requests."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from typing import Any

import yaml

from hansa.conf.components import build
from hansa.strategies import WEIGHT, Bound, Cohort, Context, Endpoint, Plan, Strategy, Trained, Transform
from hansa.strategies.laws import Quadratic, play
from hansa.strategies.pipeline import Names
from hansa.strategies.questions import PERSONAL
from hansa.strategies.strategy import trains
from hansa.strategies.types import Array
from hansa.strategies.work import PLAIN, PRIVATE

CLIENTS = 12
"""How many take part in the rounds that are played to see what a strategy does."""
WORLD = Quadratic.of(clients=CLIENTS, personal=2)
COHORT = Cohort(expected=CLIENTS, max=CLIENTS)


@dataclass(frozen=True, kw_only=True)
class Watched(Quadratic):
    """A world that remembers the plans of all training."""

    plans: list[Plan] = field(default_factory=list)

    def train(self, model: Array, private_BQ: Array, names: Names, ctx: Context, plan: Plan = PLAIN) -> Trained:
        self.plans.append(plan)
        return super().train(model, private_BQ, names, ctx, plan)


@dataclass(frozen=True)
class Facts:
    """A strategy of ``conf/strategy``, by the name by which it is chosen."""

    name: str

    @cached_property
    def about(self) -> str:
        """What it is, in a sentence."""
        return self._text.splitlines()[0].removeprefix("# ")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its settings and their defaults, those of components in it by dotted names."""
        return dict(flat(self._values))

    @property
    def paper(self) -> str:
        """The first paragraph of the file of its rule, where it has one, or of its own."""
        paragraph = inspect.cleandoc(sys.modules[self._kinds[-1].__module__].__doc__ or "").partition("\n\n")[0]
        return " ".join(paragraph.split())

    @property
    def equations(self) -> str:
        """What its class says of itself, and its rule's."""
        return "\n\n".join(inspect.cleandoc(kind.__doc__ or "") for kind in self._kinds)

    @cached_property
    def server_state(self) -> list[str]:
        """What the coordinator keeps from round to round, beside the model."""
        return sorted(play(self._built(), WORLD, 1).steps[0].after.keys() - {"model"})

    @cached_property
    def client_state(self) -> list[str]:
        """What a client keeps from round to round, beside its private parameters."""
        found = {name for end in self._trained for name in end.work.start(WORLD, WORLD.parameters, WORLD.names)}
        return sorted(found - {PRIVATE})

    @cached_property
    def requests(self) -> int:
        """How many requests a round takes."""
        return len(play(self._built(), WORLD, 1).steps[0].asked)

    @property
    def adds(self) -> str:
        """What becomes of the rows: one sum, sums of groups, or every row is kept."""
        groups = {end.aggregator.groups for end in self._trained}
        return "rows" if 0 in groups else "sum" if groups == {1} else "groups"

    @property
    def own_models(self) -> bool:
        """Whether evaluation also tells what each client's own model reaches."""
        return PERSONAL in self._endpoints

    @cached_property
    def channels(self) -> list[str]:
        """What is in the rows of its training and can be clipped."""
        return sorted({channel.name for end in self._trained for channel in end.pipeline.row.channels} - {WEIGHT.name})

    @cached_property
    def plans(self) -> list[Plan]:
        """How local training goes in the first round."""
        world = Watched(**vars(WORLD))
        play(self._built(), world, 1)
        return world.plans

    def endpoints(self, pipeline: tuple[Transform, ...] = (Bound(),), **changes: Any) -> Mapping[str, Endpoint]:
        """Build its endpoints, with ``changes`` of its settings or of the problem; raises CompositionError."""
        problem = WORLD.problem(COHORT)
        others = {name: changes.pop(name) for name in tuple(changes) if name in vars(problem)}
        return self._built(pipeline, **changes).endpoints(replace(problem, **others))

    @cached_property
    def _text(self) -> str:
        return files("hansa.conf").joinpath("strategy", f"{self.name}.yaml").read_text(encoding="utf-8")

    @cached_property
    def _values(self) -> dict[str, Any]:
        return dict(yaml.safe_load(self._text))

    def _built(self, pipeline: tuple[Transform, ...] = (Bound(),), **settings: Any) -> Strategy:
        values = self._values | ({"root": WORLD.names[0]} if "root" in self._values else {}) | settings
        made: Strategy = build("strategy", values, pipeline=pipeline)
        return made

    @property
    def _kinds(self) -> list[type]:
        """The strategy's class, and those of components in it."""
        strategy = self._built()
        parts = [type(part) for name, part in vars(strategy).items() if name != "pipeline"]
        return [type(strategy), *(part for part in parts if part.__module__.startswith("hansa.strategies."))]

    @cached_property
    def _endpoints(self) -> dict[str, Endpoint]:
        return dict(self.endpoints())

    @property
    def _trained(self) -> list[Endpoint]:
        return [end for name, end in self._endpoints.items() if trains(name)]


def flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Go through a component's settings, and by dotted names those of the components in it."""
    for name, value in values.items():
        if isinstance(value, Mapping) and "_target_" in value:
            yield from flat(value, f"{above}{name}.")
        elif name != "_target_":
            yield above + name, value


def strategies() -> Iterator[Facts]:
    """Go through Hansa's own strategies, by name."""
    for file in sorted(files("hansa.conf").joinpath("strategy").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            yield Facts(file.name.removesuffix(".yaml"))
